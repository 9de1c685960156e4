"""Networks of keras.applications: their input, their parameter counts, and their restored copies."""

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.families import keras_applications as family
from bigearth_tf.models.registry import create_model, list_models, model_config, reference_overrides

RGB = "RGB"


def make_batch(bands, size=2):
    rng = np.random.default_rng(0)
    return {b.name: rng.integers(0, 5000, (size, b.size_px, b.size_px)).astype(b.dtype) for b in get_bands(bands)}


def stem_input_and_image(model, batch):
    """Returns the input of the first convolution, and the standardized image."""
    image = keras.Model(model.input, model.get_layer("stack_120px").output)(batch)
    layers = {layer.name: layer for layer in model.layers}
    x = layers["undo_rescaling"](image) if "undo_rescaling" in layers else image
    backbone = layers["backbone"]
    # ConvNeXt's stem is a Sequential.
    stem = next(layer for layer in backbone.layers if isinstance(layer, (keras.layers.Conv2D, keras.Sequential)))
    return keras.Model(backbone.input, stem.get_input_at(-1))(x).numpy(), image.numpy()


# Three bands, because some networks have preprocessing only for three. `pad` is the padding before the first
# convolution, in rows above the image.
@pytest.mark.parametrize(
    ("name", "pad"),
    [("vgg16", 0), ("efficientnet_b0", 0), ("mobilenetv3_small", 0),
     *(pytest.param(*row, marks=pytest.mark.full) for row in (
         ("resnet50", 3), ("densenet121", 3), ("convnext_tiny", 0), ("efficientnetv2_b0", 0), ("mobilenetv2", 0),
         ("regnety_004", 0), ("resnet_rs_50", 1)))],
)  # fmt: skip
def test_the_first_convolution_receives_the_standardized_image(name, pad):
    stem_input, image = stem_input_and_image(create_model(name, bands=RGB, num_classes=3), make_batch(RGB))
    assert image.std() > 0.5
    np.testing.assert_allclose(stem_input[:, pad : pad + 120, pad : pad + 120], image, rtol=1e-6, atol=1e-7)


def test_reference_efficientnets_receive_the_image_divided_by_255():
    model = create_model("efficientnet_b0", bands=RGB, num_classes=3, **reference_overrides("efficientnet_b0"))
    stem_input, image = stem_input_and_image(model, make_batch(RGB))
    np.testing.assert_allclose(stem_input[:, :120, :120], image / 255, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "trainable", "total", "tensors"),
    [("vgg19", 20038163, 20038163, 34),
     *(pytest.param(*row, marks=pytest.mark.full) for row in (
         ("resnet50", 23595475, 23648595, 320), ("efficientnet_b0", 4033903, 4075940, 314)))],
)  # fmt: skip
def test_parameters_of_the_reference_form(name, trainable, total, tensors):
    # As in the benchmark's checkpoints: 10 bands, 19 classes.
    model = create_model(name, num_classes=19, **reference_overrides(name))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert (model.count_params(), len(model.weights)) == (total, tensors)


def test_every_model_has_120_px_and_accepts_other_resolutions():
    assert {model_config(name).resolution_px for name in family.VARIANTS} == {120}
    model = create_model("mobilenetv3_small", num_classes=3, resolution_px=60)
    assert model.get_layer("backbone").input_shape == (None, 60, 60, 10)
    with pytest.raises(ValueError, match="resolution_px=20"):
        create_model("mobilenetv3_small", num_classes=3, resolution_px=20)


def test_an_application_that_keras_lacks_does_not_affect_others(monkeypatch):
    names = list_models()
    monkeypatch.delattr(keras.applications, "ResNet50")
    assert list_models() == names
    with pytest.raises(ValueError, match=r"has no 'ResNet50'.*Keras 2\.15"):
        create_model("resnet50", num_classes=3)
    assert create_model("vgg16", num_classes=3).output_shape == (None, 3)


@pytest.mark.full
def test_convnext_is_restored_with_its_custom_layer_and_normalizes_after_pooling(tmp_path):
    model = create_model("convnext_tiny", bands=RGB, num_classes=3, resolution_px=32)
    batch = make_batch(RGB)
    features = keras.Model(model.input, model.get_layer("features").output)(batch).numpy()
    np.testing.assert_allclose(features.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=1), 1, atol=1e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(batch), model(batch))


@pytest.mark.full
def test_norm_momentum_replaces_that_of_keras_applications():
    def momenta(name, **overrides):
        backbone = create_model(name, num_classes=3, **overrides).get_layer("backbone")
        return {layer.momentum for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)}

    assert momenta("resnet_rs_50") == {0.99}
    assert momenta("mobilenetv3_small", norm_momentum=0.9) == {0.9}


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("efficientnet_b0", "mixed_float16"),
        pytest.param("convnext_tiny", "mixed_bfloat16", marks=pytest.mark.full),
        pytest.param("convnext_tiny", "mixed_float16", marks=pytest.mark.full),
    ],
)
def test_logits_are_finite_float32_in_half_precision(name, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = create_model(name, num_classes=3, resolution_px=32)
        for training in (False, True):
            logits = model(make_batch("S2"), training=training)
            assert logits.dtype == "float32"
            assert np.isfinite(logits).all()
    finally:
        keras.mixed_precision.set_global_policy("float32")
