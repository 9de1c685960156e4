"""Does every model of the zoo build, learn in every weight, take every band set, and come back from disk the same?"""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.bands import get_bands
from bigearth_tf.models import create_model, list_models


def make_batch(bands="S2", size=4, seed=0):
    rng = np.random.default_rng(seed)
    batch = {}
    for band in get_bands(bands):
        pixels = rng.normal(band.mean, band.std, (size, band.size_px, band.size_px))
        batch[band.name] = (np.maximum(pixels, 0) if band.sensor == "S2" else pixels).astype(band.dtype)
    return batch


@pytest.fixture(scope="module")
def goldens(repository):
    with (repository / "tests" / "goldens" / "parameters.csv").open(newline="") as file:
        return {row["model"]: (int(row["trainable"]), int(row["total"])) for row in csv.DictReader(file)}


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_every_golden_row_is_a_model(goldens):
    assert set(goldens) == set(list_models())


@pytest.mark.parametrize("name", list_models())
def test_parameter_counts(name, goldens):
    model = create_model(name, num_classes=19)
    assert (count(model.trainable_weights), count(model.weights)) == goldens[name]


@pytest.mark.parametrize("name", list_models())
def test_every_weight_gets_a_gradient(name):
    model = create_model(name, num_classes=5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(make_batch(), training=True) - 1.0))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights)):
        assert gradient is not None, weight.name
        assert np.isfinite(gradient).all(), weight.name
        assert np.any(gradient != 0), weight.name


@pytest.mark.parametrize("bands", ["S1", "S2", "MM", "RGB", "S2_ALL"])
def test_every_band_set_reaches_the_logits(bands):
    model = create_model("wide_resnet_eca_b0", bands=bands, num_classes=3)
    batch = make_batch(bands)
    logits = model(batch).numpy()
    assert logits.shape == (4, 3)
    for name in batch:
        changed = {**batch, name: batch[name][::-1].copy()}
        assert not np.allclose(model(changed), logits), f"{name} has no influence"


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_are_finite_float32_under_every_policy(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        logits = create_model("wide_resnet_eca_b0", num_classes=3)(make_batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


def test_the_whole_patch_reaches_the_logits():
    model = create_model("wide_resnet", num_classes=3)
    batch = make_batch(size=1)
    logits = model(batch).numpy()
    for row, column in [(0, 0), (0, 119), (119, 0), (119, 119), (60, 60)]:
        changed = {**batch, "B02": batch["B02"].copy()}
        changed["B02"][0, row, column] += 9000
        assert not np.array_equal(model(changed), logits), f"pixel {row}, {column} has no influence"


@pytest.mark.parametrize("name", list_models())
def test_saved_as_keras_it_comes_back_the_same_without_custom_objects(name, tmp_path):
    model = create_model(name, num_classes=3)
    batch = make_batch()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(batch), model(batch))


def test_overrides():
    base = create_model("wide_resnet", num_classes=19)
    # Published code of June to October 2021 had depth 16: 693,843 trainable parameters.
    assert count(create_model("wide_resnet", num_classes=19, depth=16).trainable_weights) == 693843
    assert create_model("wide_resnet", num_classes=19, width=1.0).count_params() < base.count_params() / 3
    small = create_model("wide_resnet", num_classes=19, resolution_px=30)
    assert small.count_params() == base.count_params()
    assert small.get_layer("stem_conv").input_shape == (None, 30, 30, 10)
    assert base.get_layer("features").output_shape == (None, 128)


def test_unknown_names_and_overrides_are_told_with_the_nearest():
    with pytest.raises(ValueError, match="Unknown model 'wide_resnet_eca'; did you mean .*wide_resnet_eca_b0"):
        create_model("wide_resnet_eca", num_classes=3)
    with pytest.raises(ValueError, match="has no field 'witdh'; did you mean width"):
        create_model("wide_resnet", num_classes=3, witdh=3)
    with pytest.raises(ValueError, match="6 N"):
        create_model("wide_resnet", num_classes=3, depth=11)
    with pytest.raises(ValueError, match="attention='sa'.*none, se, cbam"):
        create_model("wide_resnet", num_classes=3, attention="sa")


def test_list_models_takes_a_pattern():
    assert list_models("*_b0") == ("wide_resnet_eca_b0",)
    assert list_models("no such") == ()
