"""Similarities of maps, and where the mass of a map lies."""

import dataclasses

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.explain import Explainer, Settings
from bigearth_tf.explain.localization import localize
from bigearth_tf.explain.occlusion import Windows
from bigearth_tf.explain.sanity import check_maps, compare_maps
from bigearth_tf.layers.band_stack import band_inputs
from bigearth_tf.serving.model_inputs import ModelInputs


def test_similarity_of_maps():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40, 40))
    assert dataclasses.astuple(compare_maps(first, first)) == pytest.approx((1, 1))
    assert compare_maps(first, 3 * first**3).rank == pytest.approx(1)
    assert compare_maps(first, -first).rank == pytest.approx(-1)
    assert compare_maps(first, -first).ssim < 0
    other = compare_maps(first, second)
    assert abs(other.rank) < 0.1
    assert abs(other.ssim) < 0.2
    assert compare_maps(first, np.zeros((40, 40))).rank == 0


def test_checks_of_a_model_whose_classes_look_at_different_places():
    """Class 0 reads the left half, class 1 the right half; shuffled weights read both."""
    bands = get_bands("B02")
    model_inputs = band_inputs(bands)
    small = keras.layers.AveragePooling2D(10, dtype="float32")(
        keras.layers.Reshape((120, 120, 1), dtype="float32")(
            keras.layers.Rescaling(0.01, dtype="float32")(model_inputs["B02"])
        )
    )
    model = keras.Model(model_inputs, keras.layers.Dense(2)(keras.layers.Flatten()(small)))
    weights = np.zeros((12, 12, 2))
    weights[:, :6, 0], weights[:, 6:, 1] = 1, 1
    model.set_weights([weights.reshape(144, 2), np.zeros(2)])
    inputs = ModelInputs(bands, ("left", "right"), LabelKind.MULTI, dataset="", level=None)
    rng = np.random.default_rng(0)
    patches = [{"B02": np.kron(rng.integers(500, 900, (12, 12)), np.ones((10, 10))).astype("uint16")} for _ in "ab"]
    reported = []
    explainer = Explainer.from_model(model, inputs)
    settings = Settings(Windows(10, 10), steps=1)
    checks = check_maps(explainer, patches, settings, lambda: reported.append(1))
    assert set(checks) == {"occlusion", "integrated_gradients"}
    assert len(reported) == 4
    for check in checks.values():
        assert check.other_class.rank < -0.7  # Where one class looks, the other does not.
        assert abs(check.random_weights.rank) < 0.3
        assert check.other_patch.rank > check.random_weights.rank + 0.3  # Both patches are read at the same place.
    assert check_maps(explainer, patches[:1], settings)["occlusion"].other_patch is None


def test_the_mass_of_a_map_inside_a_mask():
    inside = np.zeros((4, 4), bool)
    inside[:2, :2] = True
    values = np.where(inside, 3.0, 1.0)
    found = localize(values, inside)
    assert found.mass == pytest.approx(12 / 24)
    assert found.chance == 0.25
    assert found.auroc == 1
    assert localize(np.ones((4, 4)), inside) == localize(np.zeros((4, 4)), inside)
    assert localize(np.ones((4, 4)), inside).mass == 0.25
    assert localize(np.ones((4, 4)), inside).auroc == 0.5
    opposing = localize(-values, inside)  # What opposes a class has no mass, and ranks last.
    assert (opposing.mass, opposing.auroc) == (0.25, 0)
    with pytest.raises(ValueError, match="covers a share of 1 of the pixels"):
        localize(values, np.ones((4, 4), bool))
