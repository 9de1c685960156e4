"""The band table, and the lookup of bands by name."""

import pytest

from bigearth_tf.data.bands import BAND_SETS, BANDS, get_bands


def test_bands_have_the_sizes_types_and_units_of_the_archive():
    sizes = {name: band.size_px for name, band in BANDS.items()}
    assert {name for name, size in sizes.items() if size == 120} == {"B02", "B03", "B04", "B08", "VV", "VH"}
    assert {name for name, size in sizes.items() if size == 60} == {"B05", "B06", "B07", "B8A", "B11", "B12"}
    assert {name for name, size in sizes.items() if size == 20} == {"B01", "B09"}
    assert {band.dtype for band in BANDS.values() if band.sensor == "S2"} == {"uint16"}
    assert {(band.dtype, band.unit) for band in BANDS.values() if band.sensor == "S1"} == {("float32", "dB")}


def test_statistics_are_those_of_the_benchmark():
    # Sums over the twelve bands of BAND_STATS in the benchmark's code, computed without this table.
    s2 = [band for band in BANDS.values() if band.sensor == "S2"]
    assert sum(band.mean for band in s2) == pytest.approx(16128.99846311, abs=1e-6)
    assert sum(band.std for band in s2) == pytest.approx(11407.34413889, abs=1e-6)
    assert (BANDS["B8A"].mean, BANDS["B12"].std, BANDS["VH"].mean) == (2266.46036911, 818.86747235, -19.29044597721542)


def test_band_sets_contain_the_bands_of_the_benchmark():
    assert len(BAND_SETS["S2"]) == 10
    assert not {"B01", "B09"} & set(BAND_SETS["S2"])
    assert BAND_SETS["MM"] == BAND_SETS["S2"] + BAND_SETS["S1"]


def test_get_bands_keeps_the_given_order():
    assert [band.name for band in get_bands("B04,B03,B02")] == ["B04", "B03", "B02"]
    assert get_bands(("B12", "VV")) == (BANDS["B12"], BANDS["VV"])


@pytest.mark.parametrize("names", [(), []])
def test_no_band_is_refused_with_the_allowed_names(names):
    with pytest.raises(ValueError, match=r"No band is named; allowed are the bands B01.*and the sets RGB"):
        get_bands(names)


@pytest.mark.parametrize("names", ["B10", "", "s2", ("B02", "B99")])
def test_an_unknown_band_is_refused_with_the_allowed_names(names):
    with pytest.raises(ValueError, match=r"allowed are the bands B01.*and the sets RGB"):
        get_bands(names)


def test_a_band_given_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        get_bands("B02,B02")
