"""Models of the zoo: parameter counts, a gradient for every weight, every band set, equal outputs from disk.

Every run counts all members from shapes, and tries a tiny variant of each structure; `--full` tries every member.
"""

import contextlib
import csv
import ctypes
import gc
import re
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.engine import base_layer, keras_tensor

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.cost import cost_of
from bigearth_tf.models.cost_estimate import estimate
from bigearth_tf.models.families import efficientnet, wide_resnet
from bigearth_tf.models.reference_names import REFERENCE_NAMES
from bigearth_tf.models.registry import (
    create_encoder,
    create_model,
    list_models,
    model_config,
    reference_config,
    reference_overrides,
)
from bigearth_tf.serving.export import save_model
from tests.support.paths import PARAMETERS_CSV

# A member of each structure, and what makes it tiny.
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
# These also run the graph as TensorFlow optimizes it, and are loaded by `keras.models.load_model` itself.
LOOKED_AT_CLOSELY = ("wide_resnet_eca_b0", "wide_resnet_cbam_ghost", "efficientnet_coordinate_ghost", "vit_20",
                     "mlp_mixer_tiny", "resnet18", "mobilenetv3_small")  # fmt: skip
# Rows of the tables that differ from a smaller sibling in numbers alone: that a .keras file holds their layers and that
# they take other bands is tried with the sibling.
LARGER_SIBLINGS = {
    name
    for pattern in ("*_b[1-7]", "resnet1[05]*", "densenet169", "densenet201", "vgg19", "convnext_[sb]*", "regnety_008",
                    "regnety_016", "resnet_rs_101")
    for name in list_models(pattern)
}  # fmt: skip
OTHER_BANDS = ("S1", "RGB", "S2_ALL", "MM")
# In every run these take all of them, and other tiny ones one; in the full run one of each structure takes all.
ALL_BANDS_WHERE_TINY = ("wide_resnet_eca_b0", "k_branch_cnn", "mlp_mixer_tiny")


def read_goldens():
    """Returns (model, form) -> (trainable, total parameters)."""
    path = PARAMETERS_CSV
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["model"], row["form"]): (int(row["trainable"]), int(row["total"])) for row in csv.DictReader(file)}


GOLDENS = read_goldens()


def zoo(among=None):
    """Returns (name, overrides) as parameters: tiny variants for every run, members as they are for the full one."""
    whole = [pytest.param(name, {}, marks=pytest.mark.full, id=name) for name in among or list_models()]
    return [*(pytest.param(name, overrides, id=f"tiny-{name}") for name, overrides in TINY.items()), *whole]


@pytest.fixture(autouse=True)
def forget_what_was_built():
    gc.disable()  # One look for what can go, after the test, will do.
    yield
    gc.enable()
    keras.backend.clear_session()
    gc.collect()
    gc.freeze()  # What TensorFlow never lets go of, millions of objects in the end, need not be looked at again.
    # Else freed weights of hundreds of megabytes stay with the process, by the gigabyte.
    ctypes.CDLL(None).malloc_trim(0)


def make_batch(bands="S2", size=2, seed=0):
    rng = np.random.default_rng(seed)
    batch = {}
    for band in get_bands(bands):
        pixels = rng.normal(band.mean, band.std, (size, band.size_px, band.size_px))
        batch[band.name] = (np.maximum(pixels, 0) if band.sensor == "S2" else pixels).astype(band.dtype)
    return batch


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def randomise(model, low, high, seed=0):
    """Moves what starts at 0 or 1, so that no unit is dead by its start and no two forms are equal by theirs.

    Not the statistics of Normalization layers: those take effect when they are loaded, not when they are assigned.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1 and not re.search(r"(^|/)normalization(_\d+)?/", weight.name):
            weight.assign_add(rng.uniform(low, high, weight.shape).astype(np.float32))


def test_every_member_has_a_golden_row_and_every_row_a_member():
    published = [name for name in list_models() if has_published_form(name)]
    assert set(GOLDENS) == {(name, "default") for name in list_models()} | {(name, "published") for name in published}


def has_published_form(name):
    try:
        return bool(reference_config(name))
    except ValueError:
        return False


def test_every_published_name_is_there_in_its_published_form():
    assert len(REFERENCE_NAMES) == len(set(REFERENCE_NAMES.values())) == 55
    assert set(REFERENCE_NAMES.values()) == {name for name in list_models() if has_published_form(name)}


# Layers that know their output's shape from their input's.
SHAPED = (
    keras.layers.Activation, keras.layers.Add, keras.layers.AveragePooling2D, keras.layers.BatchNormalization,
    keras.layers.Concatenate, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense,
    keras.layers.DepthwiseConv2D, keras.layers.Dropout, keras.layers.Flatten, keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D, keras.layers.LayerNormalization, keras.layers.MaxPooling2D, keras.layers.Multiply,
    keras.layers.Permute, keras.layers.ReLU, keras.layers.Rescaling, keras.layers.Reshape, keras.layers.Resizing,
    keras.layers.ZeroPadding2D,
)  # fmt: skip


@contextlib.contextmanager
def shapes_alone():
    """Has models built by the same code from shapes: most layers trace no graph, and their weights hold no numbers."""
    trace, add_weight = base_layer.Layer._infer_output_signature, base_layer.Layer.add_weight

    def add_shape(layer, name=None, shape=(), trainable=True, **_):
        weight = SimpleNamespace(name=name, shape=tuple(shape))
        (layer._trainable_weights if trainable else layer._non_trainable_weights).append(weight)
        return weight

    def infer(layer, inputs, args, kwargs, masks):
        if isinstance(layer, keras.Model):
            if not layer._is_graph_network:  # A Sequential that has not been called yet.
                layer._build_graph_network_for_inferred_shape(inputs.shape, inputs.dtype)
            (seen,), (output,) = layer.inputs, layer.outputs
            assert seen.shape == inputs.shape
            return keras_tensor.KerasTensor(tf.TensorSpec(output.shape, layer.compute_dtype))
        if type(layer) not in SHAPED:
            return trace(layer, inputs, args, kwargs, masks)
        base_layer.Layer.add_weight = add_shape
        try:
            layer._maybe_build(inputs)
        finally:
            base_layer.Layer.add_weight = add_weight
        shape = layer.compute_output_shape(tf.nest.map_structure(lambda tensor: tensor.shape, inputs))
        return keras_tensor.KerasTensor(tf.TensorSpec(shape, layer.compute_dtype))

    base_layer.Layer._infer_output_signature = infer
    try:
        yield
    finally:
        base_layer.Layer._infer_output_signature = trace


@pytest.mark.parametrize(("name", "form"), GOLDENS)
def test_count_of_every_form_from_shapes(name, form):
    overrides = reference_overrides(name) if form == "published" else {}
    config = reference_config(name) if form == "published" else model_config(name)
    assert model_config(name, **overrides) == config
    with shapes_alone():
        model = create_model(name, num_classes=19, **overrides)
    assert (count(model.trainable_weights), count(model.weights)) == GOLDENS[name, form]
    check_the_estimate(model, config)


@pytest.mark.parametrize(("name", "overrides"), zoo())
def test_member(name, overrides, tmp_path):
    """Builds the member once: counts, gradients, finite logits, and the same outputs back from disk."""
    keras.utils.set_random_seed(1)
    model = create_model(name, num_classes=19, **overrides)
    if overrides:
        check_shapes_against_built(model, name, overrides)
    else:
        assert (count(model.trainable_weights), count(model.weights)) == GOLDENS[name, "default"]
    check_the_estimate(model, model_config(name, **overrides))
    batch = make_batch()
    # Little: over a hundred layers a tenth in each would make logits of thousands, which mean nothing.
    randomise(model, -0.02, 0.02)
    logits = model(batch, training=False)
    assert logits.shape == (2, 19)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
    # Logits of an untrained network may be thousands: bring them to the size of those of a trained one. They follow the
    # head's weights exactly, as it is a power of two.
    scale = 2.0 ** np.ceil(np.log2(np.abs(logits).max()))
    head = model.get_layer("logits")
    head.set_weights([weight / scale for weight in head.get_weights()])
    check_it_comes_back_from_disk(name, model, batch, logits / scale, tmp_path / "model")
    randomise(model, 0.05, 0.3)
    check_every_weight_gets_a_gradient(model, batch)


def check_shapes_against_built(model, name, overrides):
    with shapes_alone():
        shaped = create_model(name, num_classes=19, **overrides)
    assert cost_of(shaped) == cost_of(model)
    for kind in ("trainable_weights", "weights"):
        shapes = [[tuple(weight.shape) for weight in getattr(made, kind)] for made in (shaped, model)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("name", "overrides"), [
    ("wide_resnet_coordinate_ghost", {"resolution_px": 32}),
    ("efficientnet_cbam", {"depth": 0.25, "resolution_px": 32}),
    ("efficientnet_eca_ghost", {"depth": 0.25, "resolution_px": 32}),
    ("vit_20", {"depth": 1}),
    ("mlp_mixer_tiny", {"depth": 1}),
])  # fmt: skip
def test_shapes_of_a_published_form_are_those_of_the_built_one(name, overrides):
    overrides = {**reference_overrides(name), **overrides}
    check_shapes_against_built(create_model(name, num_classes=19, **overrides), name, overrides)


def check_the_estimate(model, config):
    """Checks what is worked out of a config alone against the built model, where there is an estimate."""
    if isinstance(config, (wide_resnet.Config, efficientnet.Config)):
        assert estimate(config, num_bands=10, num_classes=19) == cost_of(model)


def check_every_weight_gets_a_gradient(model, batch):
    moved = set()
    for _ in range(3):  # Stochastic depth may leave out a block for all records of a small batch, but hardly for ever.
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(batch, training=True) - 1.0))
        for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights)):
            assert gradient is not None, weight.name
            assert np.isfinite(gradient).all(), weight.name
            moved |= {weight.name} if np.any(gradient != 0) else set()
        still = [weight.name for weight in model.trainable_weights if weight.name not in moved]
        if not still:
            return
    raise AssertionError(f"no gradient for {still}")


def load_unpacked(path):
    """Does what keras.models.load_model does, which seeks back in the zip for each weight: ten times slower or more."""
    with zipfile.ZipFile(path) as archive:
        model = keras.models.model_from_json(archive.read("config.json").decode())
        model.load_weights(archive.extract("model.weights.h5", path.parent))
    return model


def check_it_comes_back_from_disk(name, model, batch, logits, path):
    if name in LOOKED_AT_CLOSELY:
        model.save(path.with_suffix(".keras"))
        loaded = keras.models.load_model(path.with_suffix(".keras"))
        np.testing.assert_array_equal(loaded(batch), logits)
        check_a_weights_file(loaded, batch, logits, path)
    elif name in LARGER_SIBLINGS:
        check_a_weights_file(model, batch, logits, path)
    else:  # The weights in the archive are a weights file.
        model.save(path.with_suffix(".keras"))
        np.testing.assert_array_equal(load_unpacked(path.with_suffix(".keras"))(batch), logits)
    with tensors_compared_by_identity():
        save_model(model, get_bands("S2"), [f"class {index}" for index in range(19)], path)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    bands = {name: tf.constant(pixels) for name, pixels in batch.items()}
    with graphs_as_they_are():
        np.testing.assert_allclose(served(**bands)["probabilities"], tf.sigmoid(logits), atol=1e-5)
    if name in LOOKED_AT_CLOSELY:
        np.testing.assert_allclose(served(**bands)["probabilities"], tf.sigmoid(logits), atol=5e-3)


def check_a_weights_file(model, batch, logits, path):
    model.save_weights(path.with_suffix(".weights.h5"))
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    model.load_weights(path.with_suffix(".weights.h5"))
    np.testing.assert_array_equal(model(batch), logits)


@contextlib.contextmanager
def tensors_compared_by_identity():
    """Has TensorFlow find tensors in lists at once, as it does for each swish that it saves; it finds the same ones."""
    tf.compat.v1.disable_tensor_equality()
    try:
        yield
    finally:
        tf.compat.v1.enable_tensor_equality()


@contextlib.contextmanager
def graphs_as_they_are():
    """Has no graph optimised: that rounds otherwise, which an untrained deep network amplifies, and it takes long."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.mark.parametrize(("name", "overrides"), zoo([name for name in list_models() if name not in LARGER_SIBLINGS]))
def test_member_takes_other_bands(name, overrides):
    """Each other band set in at least one of each structure, and in a quarter of the others; in 16 bits."""
    turn = list_models().index(name) % len(OTHER_BANDS)
    takes_all = name in (ALL_BANDS_WHERE_TINY if overrides else TINY)
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


def test_published_forms_have_the_published_counts(repository):
    path = repository.parent / "shared" / "reference" / "zoo.csv"
    if not path.exists():
        pytest.skip("the list of published counts is not beside the checkout")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["certainty"] in ("yes", "likely")]
    assert len(rows) == 40
    for row in rows:
        found = GOLDENS[REFERENCE_NAMES[row["zoo_name"]], "published"]
        assert found == (int(row["trainable_params"]), int(row["total_params"])), row["zoo_name"]


@pytest.mark.parametrize("bands", ["S1", "S2", "MM", "RGB", "S2_ALL"])
def test_every_band_reaches_the_logits(bands):
    model = create_model("wide_resnet_eca_b0", bands=bands, num_classes=3)
    batch = make_batch(bands)
    logits = model(batch).numpy()
    for name in batch:
        changed = {**batch, name: batch[name][::-1].copy()}
        assert not np.allclose(model(changed), logits), f"{name} has no influence"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_lower_precision_changes_the_logits_little(policy):
    keras.utils.set_random_seed(1)
    expected = create_model("wide_resnet_eca_b0", num_classes=3)(make_batch())
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy(policy)
    try:
        logits = create_model("wide_resnet_eca_b0", num_classes=3)(make_batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, expected, atol=0.1)
    assert not np.array_equal(logits, expected)


def test_an_encoder_is_the_model_without_its_head():
    keras.utils.set_random_seed(1)
    encoder = create_encoder("wide_resnet_eca_b0", bands="RGB")
    keras.utils.set_random_seed(1)
    model = create_model("wide_resnet_eca_b0", bands="RGB", num_classes=3)
    batch = make_batch("RGB")
    assert encoder.output_shape == (None, 128)
    features = encoder(batch)
    np.testing.assert_array_equal(keras.Model(model.inputs, model.get_layer("features").output)(batch), features)
    np.testing.assert_allclose(model.get_layer("logits")(features), model(batch), atol=1e-6)


def test_unknown_names_and_overrides_are_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown model 'wide_resnet_eca'; did you mean wide_resnet_eca_b\d, "):
        create_model("wide_resnet_eca", num_classes=3)
    with pytest.raises(ValueError, match="has no field 'witdh'; did you mean width"):
        create_model("wide_resnet", num_classes=3, witdh=3)
    with pytest.raises(ValueError, match="wide_resnet_ghost has no reference form; did you mean wide_resnet"):
        reference_config("wide_resnet_ghost")


def test_list_models_takes_a_pattern():
    assert set(list_models("wide_resnet_*_ghost")) == {
        f"wide_resnet_{attention}_ghost" for attention in ("se", "cbam", "coordinate", "eca")
    }
    assert list_models("no such") == ()
