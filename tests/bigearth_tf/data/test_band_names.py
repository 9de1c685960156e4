"""Names of bands in file names and descriptions."""

import pytest

from bigearth_tf.data.band_names import find_band_name, split_band_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("B02", "B02"),
        ("b4", "B04"),
        ("B8a", "B8A"),
        ("T33UUP_20200101T101031_B8A_20m", "B8A"),
        ("Sentinel-2 band B11 (1610 nm)", "B11"),
        ("S1A_IW_GRDH_VV", "VV"),
        ("Gray", ""),
        ("B13", ""),
        ("B020", ""),
        ("CLUB4", ""),
        ("", ""),
    ],
)
def test_the_band_that_a_text_names(text, name):
    assert find_band_name(text) == name


def test_the_last_band_of_a_file_name_counts():
    assert split_band_name("area_B1_patch-7_B02_10m") == ("B02", "area_B1_patch-7")
    assert split_band_name("B08") == ("B08", "")
    assert split_band_name("patch_7") == ("", "")
