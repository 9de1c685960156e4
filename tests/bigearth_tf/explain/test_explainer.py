"""Attribution maps: exact for linear models, complete, and offered where the structure of a model allows them."""

import dataclasses

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.explain import Explainer, Settings
from bigearth_tf.explain.attribution import spread
from bigearth_tf.explain.differentiable import DifferentiableModel
from bigearth_tf.explain.occlusion import Windows
from bigearth_tf.layers.band_stack import band_inputs
from bigearth_tf.models.registry import create_model
from bigearth_tf.serving.model_inputs import ModelInputs
from tests.support.tiny_models import write_means_model

# Bands of three native sizes: 120 px, 60 px and 20 px become 12, 6 and 2 px.
BANDS = tuple(
    dataclasses.replace(band, size_px=band.size_px // 10, mean=100.0, std=50.0) for band in get_bands("B02,B05,B01")
)
CLASSES = ("first", "second")
ONE_PIXEL = Settings(Windows(1, 1))


def takes(bands):
    """Returns what a model with these bands and two classes takes."""
    return ModelInputs(tuple(bands), CLASSES, LabelKind.MULTI, dataset="", level=None)


def random_patch(bands=BANDS, seed=0):
    rng = np.random.default_rng(seed)
    return {band.name: rng.integers(0, 300, (band.size_px, band.size_px)).astype(band.dtype) for band in bands}


@pytest.fixture(scope="module")
def linear():
    """A model whose logits are weighted sums of the pixels; returns its explainer and the weights of each band."""
    inputs = band_inputs(BANDS)
    flat = [keras.layers.Flatten()(keras.layers.Rescaling(1.0, dtype="float32")(inputs[band.name])) for band in BANDS]
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(keras.layers.Concatenate()(flat)))
    rng = np.random.default_rng(1)
    weights = {band.name: rng.normal(0, 0.01, (band.size_px, band.size_px, 2)) for band in BANDS}
    model.set_weights([np.concatenate([array.reshape(-1, 2) for array in weights.values()]), rng.normal(0, 1, 2)])
    return Explainer.from_model(model, takes(BANDS)), weights


@pytest.fixture(scope="module")
def curved():
    """A model with two native sizes that is not linear."""
    keras.utils.set_random_seed(3)
    bands = get_bands("B02,B03,B05")
    model = create_model("wide_resnet_eca_b0", bands=bands, num_classes=2, resolution_px=16, width=0.5)
    return Explainer.from_model(model, takes(bands)), random_patch(bands)


def test_integrated_gradients_of_a_linear_model_are_its_weights_times_the_difference(linear):
    explainer, weights = linear
    patch = random_patch()
    found = explainer.explain(patch, "second", "integrated_gradients", Settings(steps=2))
    expected = {name: weights[name][..., 1] * (pixels - 100.0) for name, pixels in patch.items()}
    assert found.by_band == pytest.approx({name: part.sum() for name, part in expected.items()}, rel=1e-4)
    np.testing.assert_allclose(found.values, sum(spread(part, 12) for part in expected.values()), atol=1e-5)
    assert found.gap == pytest.approx(0, abs=1e-4)
    assert found.class_name == "second"
    assert found.logit == pytest.approx(explainer.logits(patch)[1])
    assert found.probability == pytest.approx(1 / (1 + np.exp(-found.logit)))


def test_occlusion_of_single_pixels_of_a_linear_model_are_its_integrated_gradients(linear):
    explainer, weights = linear
    patch = {"B02": random_patch()["B02"], "B05": np.full((6, 6), 100, "uint16"), "B01": np.full((2, 2), 100, "uint16")}
    found = explainer.explain(patch, "first", "occlusion", ONE_PIXEL)
    np.testing.assert_allclose(found.values, weights["B02"][..., 0] * (patch["B02"] - 100.0), atol=1e-5)


def test_a_window_removes_the_pixels_of_every_band_below_it(linear):
    """Windows of 6 px without overlap are 3 pixels of 20 m and 1 pixel of 60 m: nothing is removed twice or missed."""
    explainer, weights = linear
    patch = random_patch()
    found = explainer.explain(patch, "first", "occlusion", Settings(Windows(6, 6), batch_size=3))
    expected = sum(spread(weights[name][..., 0] * (pixels - 100.0), 12) for name, pixels in patch.items())
    of_windows = expected.reshape(2, 6, 2, 6).sum((1, 3)) / 36
    np.testing.assert_allclose(found.values, np.kron(of_windows, np.ones((6, 6))), atol=1e-5)


def test_the_class_with_the_highest_logit_is_explained_by_default(linear):
    explainer, _ = linear
    patch = random_patch()
    assert explainer.explain(patch, method="occlusion").class_name == CLASSES[np.argmax(explainer.logits(patch))]


def test_occlusion_of_a_model_that_reads_one_pixel_shows_the_windows_over_it():
    def score(batch):
        return np.stack([np.where(batch["B02"][:, 7, 2] > 100, 3.0, 1.0), np.zeros(len(batch["B02"]))], axis=1)

    explainer = Explainer(score, takes(BANDS))
    patch = random_patch()
    patch["B02"][7, 2] = 200
    found = explainer.explain(patch, "first", "occlusion", Settings(Windows(3, 1))).values
    assert found[7, 2] == pytest.approx(2 / 9)  # Every window over this pixel loses 2, spread over 9 pixels.
    assert found[7, 3] == pytest.approx(2 / 9 * 2 / 3)  # Of the windows over its neighbor, two of three.
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 9, 0, 4)


def test_integrated_gradients_are_complete(curved):
    explainer, patch = curved
    coarse, fine = (explainer.explain(patch, "first", settings=Settings(steps=steps)) for steps in (4, 256))
    start = {name: np.full_like(pixels, explainer.baseline[name]) for name, pixels in patch.items()}
    assert fine.values.sum() == pytest.approx(fine.logit - explainer.logits(start)[0], abs=0.01)
    assert abs(fine.gap) < 0.01
    assert abs(fine.gap) < abs(coarse.gap)
    assert sum(fine.by_band.values()) == pytest.approx(fine.values.sum(), abs=1e-4)


def test_grad_cam_of_a_pooled_map_adds_up_to_the_logit_without_bias():
    """The features are the mean of the map, the logit is their weighted sum: the map says where it comes from."""
    bands = get_bands("B02")
    inputs = band_inputs(bands)
    image = keras.layers.Reshape((120, 120, 1), dtype="float32")(keras.layers.Rescaling(0.01)(inputs["B02"]))
    maps = keras.layers.Conv2D(3, 12, 12, activation="relu")(image)
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(inputs, logits)
    rng = np.random.default_rng(0)
    kernel, head = rng.uniform(0, 0.1, (12, 12, 1, 3)), np.array([[1.0, 0], [2.0, 0], [0.5, -1]])
    model.set_weights([kernel, np.zeros(3), head, np.array([0.7, 0])])
    explainer = Explainer.from_model(model, takes(bands))
    patch = {"B02": np.zeros((120, 120), "uint16")}
    patch["B02"][24:36, 60:72] = 500
    found = explainer.explain(patch, "first", "grad_cam")
    assert found.values.sum() == pytest.approx(found.logit - 0.7, rel=1e-4)
    assert np.unravel_index(found.values.argmax(), found.values.shape) in {
        (row, column) for row in range(24, 36) for column in range(60, 72)
    }
    assert found.values[:12].max() == 0
    assert explainer.explain(patch, "second", "grad_cam").values.max() == 0  # What opposes a class is cut off.


@pytest.mark.parametrize(
    ("name", "overrides", "sizes"),
    [
        ("wide_resnet_eca_b0", {"resolution_px": 32}, ((8, 8),)),
        ("wide_resnet_cbam", {"resolution_px": 80, "pool_whole_map": False}, ((20, 20),)),
        pytest.param("mobilenetv2", {"resolution_px": 64}, ((2, 2),), marks=pytest.mark.full),  # A model in the model.
        ("k_branch_cnn", {"branch_dim": 2}, ((30, 30), (30, 30))),
        ("vit_40", {"depth": 1}, ()),
        ("vit_40", {"depth": 1, "pooling": "mean"}, ()),
        ("mlp_mixer_tiny", {"depth": 1}, ()),
    ],
)
def test_grad_cam_is_offered_where_the_structure_of_a_model_has_maps(name, overrides, sizes):
    model = create_model(name, bands="B02,B05", num_classes=2, **overrides)
    assert DifferentiableModel(model).map_sizes == sizes
    explainer = Explainer.from_model(model, takes(get_bands("B02,B05")))
    assert explainer.methods[-2:] == ("occlusion", "integrated_gradients")
    assert ("grad_cam" in explainer.methods) == bool(sizes)


def test_the_output_of_a_model_in_the_model_is_a_map():
    """As in the networks of keras.applications."""
    image = keras.Input((120, 120, 1))
    backbone = keras.Model(image, keras.layers.Conv2D(4, 30, 30, activation="relu")(image), name="backbone")
    inputs = band_inputs(get_bands("B02"))
    maps = backbone(keras.layers.Reshape((120, 120, 1))(keras.layers.Rescaling(0.01)(inputs["B02"])))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(maps)))
    explainer = Explainer.from_model(model, takes(get_bands("B02")))
    assert DifferentiableModel(model).map_sizes == ((4, 4),)
    assert explainer.explain(random_patch(get_bands("B02")), "first", "grad_cam").values.shape == (120, 120)


def test_an_image_is_not_a_map_of_the_network():
    inputs = band_inputs(get_bands("B02"))
    image = keras.layers.Reshape((120, 120, 1))(keras.layers.Rescaling(0.01)(inputs["B02"]))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    assert DifferentiableModel(model).map_sizes == ()


def test_shuffled_weights_are_another_model_and_leave_the_first_alone(curved):
    explainer, patch = curved
    before = explainer.logits(patch)
    other = explainer.randomize()
    assert not np.allclose(other.logits(patch), before)
    np.testing.assert_array_equal(explainer.logits(patch), before)
    np.testing.assert_array_equal(other.logits(patch), explainer.randomize().logits(patch))


def test_what_does_not_fit_is_refused(linear):
    explainer, _ = linear
    patch = random_patch()
    with pytest.raises(ValueError, match="no class 'third'; it has first, second"):
        explainer.explain(patch, "third")
    with pytest.raises(ValueError, match="grad_cam needs a spatial map"):
        explainer.explain(patch, method="grad_cam")
    with pytest.raises(ValueError, match="Unknown method 'lime'; allowed: grad_cam, occlusion, integrated_gradients"):
        explainer.explain(patch, method="lime")
    with pytest.raises(ValueError, match=r"B05 as uint16 \[6, 6\]; in this patch it is missing"):
        explainer.explain({"B02": patch["B02"]})
    with pytest.raises(ValueError, match=r"window of 13 px is larger than the patch of 12 px"):
        explainer.explain(patch, method="occlusion", settings=Settings(Windows(13, 1)))
    with pytest.raises(
        ValueError, match=r"stride of 4 px does not fit windows of 3 px; allowed are strides of 1 ... 3"
    ):
        Windows(3, 4)
    with pytest.raises(ValueError, match="not finite"):
        Explainer(lambda batch: np.full((1, 2), np.nan), takes(BANDS)).logits(patch)
    with pytest.raises(ValueError, match="Band B02 has no mean"):
        Explainer(explainer.score, takes([dataclasses.replace(BANDS[0], mean=None)]))


@pytest.mark.parametrize("label_kind", LabelKind)
def test_an_export_allows_occlusion_of_the_logits_of_its_probabilities(tmp_path, label_kind):
    """The logits of this model are (mean of a band - 1000) / 500."""
    rows = get_bands("B02,B05")
    explainer = Explainer.from_export(write_means_model(tmp_path / "model", rows, CLASSES, label_kind=label_kind))
    assert explainer.methods == ("occlusion",)
    patch = {band.name: np.full((band.size_px, band.size_px), round(band.mean), band.dtype) for band in rows}
    patch["B05"][:30] += 600
    logits = np.array([(pixels.mean() - 1000) / 500 for pixels in patch.values()])
    if label_kind is LabelKind.SINGLE:
        logits -= np.log(np.exp(logits).sum())
    np.testing.assert_allclose(explainer.logits(patch), logits, atol=1e-4)
    found = explainer.explain(patch, "second", "occlusion", Settings(Windows(60, 60)))
    assert found.values[60:].max() == pytest.approx(0, abs=1e-8)
    if label_kind is LabelKind.MULTI:
        assert found.values.sum() == pytest.approx(600 / 2 / 500, rel=1e-3)
    with pytest.raises(ValueError, match="integrated_gradients needs gradients, which an exported model does not have"):
        explainer.explain(patch)
    with pytest.raises(ValueError, match="not its export"):
        explainer.randomize()
