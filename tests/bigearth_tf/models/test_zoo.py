"""Models of the zoo: parameter counts, a gradient for every weight, every band set, equal outputs from disk.

Every run counts all members from shapes, and tries a tiny variant of each structure; `--full` tries every member.
"""

import contextlib
import csv
import ctypes
import gc
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.cost import compute_cost
from bigearth_tf.models.cost_estimate import estimate_cost
from bigearth_tf.models.families import efficientnet, wide_resnet
from bigearth_tf.models.reference_names import REFERENCE_NAMES
from bigearth_tf.models.registry import (
    create_model,
    list_models,
    model_config,
    reference_config,
    reference_overrides,
)
from bigearth_tf.serving.export import save_model
from tests.support.batches import make_batch
from tests.support.paths import PARAMETERS_CSV
from tests.support.shape_only_models import build_from_shapes

# A member of each structure, with the overrides that make it tiny.
TINY = {
    "wide_resnet_eca_b0": {"width": 0.5, "resolution_px": 20},
    "wide_resnet_cbam_ghost": {"width": 1.0, "resolution_px": 20},
    "efficientnet_coordinate_ghost": {"depth": 0.25, "width": 0.25, "resolution_px": 40},
    "vit_20": {"depth": 1, "dim": 16, "mlp_dim": 32},
    "mlp_mixer_tiny": {"depth": 1, "dim": 16},
    "resnet18": {"blocks": (1, 1, 1, 1), "resolution_px": 40},
    "k_branch_cnn": {"branch_dim": 4},
    "lambda_resnet": {"resolution_px": 20, "context_px": 5},
    "mobilenetv3_small": {"resolution_px": 40},
}
# These are also tested as graphs that TensorFlow optimizes, and loaded by `keras.models.load_model` itself.
TESTED_MORE_CLOSELY = ("wide_resnet_eca_b0", "wide_resnet_cbam_ghost", "efficientnet_coordinate_ghost", "vit_20",
                     "mlp_mixer_tiny", "resnet18", "mobilenetv3_small")  # fmt: skip
# Models that differ from a smaller sibling only in numbers: the .keras file and other bands are tested with that one.
LARGER_SIBLINGS = {
    name
    for pattern in ("*_b[1-7]", "resnet1[05]*", "densenet169", "densenet201", "vgg19", "convnext_[sb]*", "regnety_008",
                    "regnety_016", "resnet_rs_101")
    for name in list_models(pattern)
}  # fmt: skip
OTHER_BANDS = ("S1", "RGB", "S2_ALL", "MM")
# In every run these tiny variants are tested with all of them and the others with one; in the full run, one member of
# each structure is tested with all.
TINY_WITH_ALL_BANDS = ("wide_resnet_eca_b0", "k_branch_cnn", "mlp_mixer_tiny")


def read_goldens():
    """Returns (model, form) -> (trainable, total parameters)."""
    path = PARAMETERS_CSV
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["model"], row["form"]): (int(row["trainable"]), int(row["total"])) for row in csv.DictReader(file)}


GOLDENS = read_goldens()


def zoo(among=None):
    """Returns (name, overrides) as parameters: tiny variants for every run, unchanged members for the full run."""
    whole = [pytest.param(name, {}, marks=pytest.mark.full, id=name) for name in among or list_models()]
    return [*(pytest.param(name, overrides, id=f"tiny-{name}") for name, overrides in TINY.items()), *whole]


@pytest.fixture(autouse=True)
def free_memory():
    gc.disable()  # One collection after the test is enough.
    yield
    gc.enable()
    keras.backend.clear_session()
    gc.collect()
    gc.freeze()  # TensorFlow keeps millions of objects, which need not be examined again.
    # Otherwise the process keeps the memory of freed weights, gigabytes in total.
    ctypes.CDLL(None).malloc_trim(0)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def randomize(model, low, high, seed=0):
    """Changes weights of initial value 0 or 1, so that no unit is dead and no two forms are equal by initialization.

    The statistics of Normalization layers stay: they take effect when loaded, not when assigned.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1 and not re.search(r"(^|/)normalization(_\d+)?/", weight.name):
            weight.assign_add(rng.uniform(low, high, weight.shape).astype(np.float32))


def test_every_member_has_a_golden_row_and_every_row_a_member():
    with_reference = [name for name in list_models() if has_reference_form(name)]
    assert set(GOLDENS) == {(name, "default") for name in list_models()} | {
        (name, "published") for name in with_reference
    }


def has_reference_form(name):
    try:
        return bool(reference_config(name))
    except ValueError:
        return False


def test_every_model_of_the_benchmark_has_a_reference_form():
    assert len(REFERENCE_NAMES) == len(set(REFERENCE_NAMES.values())) == 55
    assert set(REFERENCE_NAMES.values()) == {name for name in list_models() if has_reference_form(name)}


@pytest.mark.parametrize(("name", "form"), GOLDENS)
def test_count_of_every_form_from_shapes(name, form):
    overrides = reference_overrides(name) if form == "published" else {}
    config = reference_config(name) if form == "published" else model_config(name)
    assert model_config(name, **overrides) == config
    with build_from_shapes():
        model = create_model(name, num_classes=19, **overrides)
    assert (count(model.trainable_weights), count(model.weights)) == GOLDENS[name, form]
    check_the_estimate(model, config)


@pytest.mark.parametrize(("name", "overrides"), zoo())
def test_member(name, overrides, tmp_path):
    """Builds the member once: checks counts, gradients, finite logits, and equal outputs when restored from disk."""
    keras.utils.set_random_seed(1)
    model = create_model(name, num_classes=19, **overrides)
    if overrides:
        check_shapes_against_built(model, name, overrides)
    else:
        assert (count(model.trainable_weights), count(model.weights)) == GOLDENS[name, "default"]
    check_the_estimate(model, model_config(name, **overrides))
    batch = make_batch()
    # By little: a tenth in each of a hundred layers would give meaningless logits of thousands.
    randomize(model, -0.02, 0.02)
    logits = model(batch, training=False)
    assert logits.shape == (2, 19)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    # Logits of an untrained network may be thousands: scale them to the size of a trained network's. The scale is a
    # power of two, so that the logits are exactly proportional to the head's weights.
    scale = 2.0 ** np.ceil(np.log2(np.abs(logits).max()))
    head = model.get_layer("logits")
    head.set_weights([weight / scale for weight in head.get_weights()])
    check_it_is_restored_from_disk(name, model, batch, logits / scale, tmp_path / "model")
    randomize(model, 0.05, 0.3)
    check_every_weight_gets_a_gradient(model, batch)


def check_shapes_against_built(model, name, overrides):
    with build_from_shapes():
        shaped = create_model(name, num_classes=19, **overrides)
    assert compute_cost(shaped) == compute_cost(model)
    for kind in ("trainable_weights", "weights"):
        shapes = [[tuple(weight.shape) for weight in getattr(built, kind)] for built in (shaped, model)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("name", "overrides"), [
    ("wide_resnet_coordinate_ghost", {"resolution_px": 32}),
    ("efficientnet_cbam", {"depth": 0.25, "resolution_px": 32}),
    ("efficientnet_eca_ghost", {"depth": 0.25, "resolution_px": 32}),
    ("vit_20", {"depth": 1}),
    ("mlp_mixer_tiny", {"depth": 1}),
])  # fmt: skip
def test_shapes_of_a_reference_form_are_those_of_the_built_model(name, overrides):
    overrides = {**reference_overrides(name), **overrides}
    check_shapes_against_built(create_model(name, num_classes=19, **overrides), name, overrides)


def check_the_estimate(model, config):
    """Checks the cost computed from the config against the built model, if the family has an estimate."""
    if isinstance(config, (wide_resnet.Config, efficientnet.Config)):
        assert estimate_cost(config, num_bands=10, num_classes=19) == compute_cost(model)


def check_every_weight_gets_a_gradient(model, batch):
    with_gradient = set()
    for _ in range(3):  # Stochastic depth may drop a block for all records of a small batch, but hardly three times.
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(batch, training=True) - 1.0))
        for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights)):
            assert gradient is not None, weight.name
            assert np.isfinite(gradient).all(), weight.name
            with_gradient |= {weight.name} if np.any(gradient != 0) else set()
        missing = [weight.name for weight in model.trainable_weights if weight.name not in with_gradient]
        if not missing:
            return
    raise AssertionError(f"no gradient for {missing}")


def load_unpacked(path):
    """Loads a .keras file as keras.models.load_model does, but ten times faster: without seeking in the zip."""
    with zipfile.ZipFile(path) as archive:
        model = keras.models.model_from_json(archive.read("config.json").decode())
        model.load_weights(archive.extract("model.weights.h5", path.parent))
    return model


def check_it_is_restored_from_disk(name, model, batch, logits, path):
    if name in TESTED_MORE_CLOSELY:
        model.save(path.with_suffix(".keras"))
        loaded = keras.models.load_model(path.with_suffix(".keras"))
        np.testing.assert_array_equal(loaded(batch), logits)
        check_a_weights_file(loaded, batch, logits, path)
    elif name in LARGER_SIBLINGS:
        check_a_weights_file(model, batch, logits, path)
    else:  # The weights in the archive are tested as a weights file.
        model.save(path.with_suffix(".keras"))
        np.testing.assert_array_equal(load_unpacked(path.with_suffix(".keras"))(batch), logits)
    with tensors_compared_by_identity():
        save_model(model, get_bands("S2"), [f"class {index}" for index in range(19)], path)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    bands = {name: tf.constant(pixels) for name, pixels in batch.items()}
    with graphs_without_optimization():
        np.testing.assert_allclose(served(**bands)["probabilities"], tf.sigmoid(logits), atol=1e-5)
    if name in TESTED_MORE_CLOSELY:
        np.testing.assert_allclose(served(**bands)["probabilities"], tf.sigmoid(logits), atol=5e-3)


def check_a_weights_file(model, batch, logits, path):
    model.save_weights(path.with_suffix(".weights.h5"))
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    model.load_weights(path.with_suffix(".weights.h5"))
    np.testing.assert_array_equal(model(batch), logits)


@contextlib.contextmanager
def tensors_compared_by_identity():
    """Lets TensorFlow find tensors in lists quickly, which it does for each swish that it saves."""
    tf.compat.v1.disable_tensor_equality()
    try:
        yield
    finally:
        tf.compat.v1.enable_tensor_equality()


@contextlib.contextmanager
def graphs_without_optimization():
    """Disables the optimization of graphs: it is slow, and untrained networks amplify its different rounding."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.mark.parametrize(("name", "overrides"), zoo([name for name in list_models() if name not in LARGER_SIBLINGS]))
def test_member_takes_other_bands(name, overrides):
    """Tests each other band set with at least one member of each structure and a quarter of the others, in 16 bits."""
    turn = list_models().index(name) % len(OTHER_BANDS)
    takes_all = name in (TINY_WITH_ALL_BANDS if overrides else TINY)
    for bands in OTHER_BANDS if takes_all else OTHER_BANDS[turn : turn + 1]:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            model = create_model(name, bands=bands, num_classes=3, **overrides)
            logits = model(make_batch(bands))
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert set(model.input) == {band.name for band in get_bands(bands)}
        assert logits.shape == (2, 3)
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()


def test_reference_forms_have_the_counts_of_the_benchmark(repository):
    path = repository.parent / "shared" / "reference" / "zoo.csv"
    if not path.exists():
        pytest.skip("no list of the benchmark's counts next to the checkout")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["certainty"] in ("yes", "likely")]
    assert len(rows) == 40
    for row in rows:
        found = GOLDENS[REFERENCE_NAMES[row["zoo_name"]], "published"]
        assert found == (int(row["trainable_params"]), int(row["total_params"])), row["zoo_name"]
