"""K-Branch CNN: one branch for each native size, each with its own bands, not resampled."""

import dataclasses

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.models.families.k_branch_cnn import BRANCHES, choose_branch
from bigearth_tf.models.registry import create_encoder, create_model


def make_batch(bands, size=2, seed=0):
    rng = np.random.default_rng(seed)
    return {
        band.name: rng.normal(3000, 800, (size, band.size_px, band.size_px)).astype(band.dtype)
        for band in get_bands(bands)
    }


def branches_of(model):
    return [layer.name for layer in model.layers if layer.name.endswith("px_dense")]


@pytest.mark.parametrize(
    ("bands", "sizes"),
    [("S2_ALL", (20, 120, 60)), ("S2", (120, 60)), ("MM", (120, 60)), ("S1", (120,)), ("B05,B01", (60, 20))],
)
def test_one_branch_per_native_size(bands, sizes):
    assert branches_of(create_encoder("k_branch_cnn", bands=bands)) == [f"branch_{size}px_dense" for size in sizes]


def test_a_branch_has_only_its_own_bands_not_resampled():
    encoder = create_encoder("k_branch_cnn", bands="S2_ALL")
    kinds = (keras.layers.Resizing, keras.layers.AveragePooling2D)
    assert not [layer.name for layer in encoder.layers if isinstance(layer, kinds)]
    batch = make_batch("S2_ALL")
    sizes = {band.name: band.size_px for band in get_bands("S2_ALL")}
    outputs = {size: encoder.get_layer(f"branch_{size}px_dense").output for size in (20, 60, 120)}
    branches = keras.Model(encoder.input, outputs)
    before = branches(batch)
    for band in ("B02", "B8A", "B09"):
        after = branches({**batch, band: batch[band][::-1].copy()})
        changed = [size for size in outputs if not np.array_equal(after[size], before[size])]
        assert changed == [sizes[band]], band


def test_parameters_match_the_table_of_branches():
    model = create_model("k_branch_cnn", bands="S2_ALL", num_classes=19)
    norm = 2  # trainable numbers per channel
    m10 = 25 * 4 * 32 + 25 * 32 * 32 + 9 * 32 * 64 + (32 + 32 + 64) * norm + 30 * 30 * 64 * 128 + 128 * norm
    m20 = 9 * 6 * 32 + 9 * 32 * 32 + 9 * 32 * 64 + (32 + 32 + 64) * norm + 30 * 30 * 64 * 128 + 128 * norm
    m60 = 4 * 2 * 32 + 4 * 32 * 32 * 2 + 3 * 32 * norm + 20 * 20 * 32 * 128 + 128 * norm
    mix = 3 * 128 * 128 + 128 * norm + 128 * 19 + 19
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == m10 + m20 + m60 + mix


def test_a_branch_is_that_of_the_nearest_size():
    for size, nearest_size in [
        (120, 120),
        (256, 120),
        (86, 120),
        (64, 60),
        (60, 60),
        (35, 60),
        (32, 20),
        (20, 20),
        (1, 20),
    ]:
        assert choose_branch(size) == BRANCHES[nearest_size], size


def test_bands_of_other_datasets_have_their_branches():
    rows = [dataclasses.replace(BANDS[name], size_px=size) for name, size in (("B02", 64), ("B05", 32), ("B01", 11))]
    model = create_model("k_branch_cnn", bands=rows, num_classes=3)
    assert branches_of(model) == ["branch_64px_dense", "branch_32px_dense", "branch_11px_dense"]
    batch = {band.name: np.full((2, band.size_px, band.size_px), 500, np.uint16) for band in rows}
    assert np.isfinite(model(batch)).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [({"branch_dim": 0}, "branch_dim=0"), ({"conv_dropout": 1.0, "mix_dropout": -1}, "conv_dropout=1.0, mix_drop")],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("k_branch_cnn", num_classes=3, **override)


def test_bands_without_statistics_are_refused():
    rows = [dataclasses.replace(BANDS["B02"], mean=None, std=None)]
    with pytest.raises(ValueError, match="Band B02 has no mean"):
        create_model("k_branch_cnn", bands=rows, num_classes=3)
