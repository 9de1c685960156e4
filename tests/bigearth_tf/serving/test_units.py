"""Units of pixels: what is converted with which line, and what is refused with which option."""

import numpy as np
import pytest

from bigearth_tf.serving.native_size import reduce_to_native
from bigearth_tf.serving.units import (
    DnConversion,
    DnPixels,
    StoredBand,
    check_decibels,
    check_level,
    choose_conversion,
)


def land(dtype="uint16", offset=0, scale=1.0):
    """Returns the pixels of a dark and of a bright surface: DN 300 and 3,000."""
    numbers = np.full((10, 10), 300.0)
    numbers[5:] = 3000
    return ((numbers - offset) * scale).astype(dtype)


def choose(pixels, **options):
    chosen = choose_conversion({"chip.tif": [StoredBand(pixels)]}, **options)
    return chosen.conversion, "\n".join(chosen.lines)


def test_digital_numbers_stay_and_the_absence_of_an_offset_is_said():
    conversion, lines = choose(land())
    assert conversion == DnConversion()
    assert lines == "The values have no offset of baseline 04.00: too many are below 0.05."
    assert (conversion.apply(StoredBand(land())).pixels == land()).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reflectance_becomes_digital_numbers(dtype):
    conversion, lines = choose(land(dtype, scale=1e-4))
    assert "multiplied by 10,000" in lines
    converted = conversion.apply(StoredBand(land(dtype, scale=1e-4)))
    assert converted.pixels.dtype == np.uint16
    assert (converted.pixels == land()).all()


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_other_types_of_digital_numbers_are_converted(dtype):
    conversion, lines = choose(land(dtype))
    assert f"stored as {dtype}" in lines
    assert (conversion.apply(StoredBand(land(dtype))).pixels == land()).all()


def test_an_offset_that_may_be_there_is_asked_for():
    pixels = land(offset=-1000)
    with pytest.raises(
        ValueError, match=r"chip.tif: 1 of 1 .* Say --dn_offset=-1000 if BOA_ADD_OFFSET .* --dn_offset=0"
    ):
        choose(pixels)
    conversion, lines = choose(pixels, dn_offset=-1000)
    assert "-1000 is added to digital numbers (--dn_offset)" in lines
    assert (conversion.apply(StoredBand(pixels)).pixels == land()).all()
    # Also if they are reflectance, from numbers of which nobody subtracted the offset.
    conversion, _ = choose(land("float32", offset=-1000, scale=1e-4), dn_offset=-1000)
    assert (conversion.apply(StoredBand(land("float32", offset=-1000, scale=1e-4))).pixels == land()).all()
    assert choose(pixels, dn_offset=0)[0] == DnConversion()


def test_an_offset_clips_at_zero_and_keeps_no_data():
    pixels = np.array([[0, 900, 1000, 1001, 3000]], np.uint16)
    converted = DnConversion(dn_offset=-1000).apply(StoredBand(pixels))
    assert converted.pixels.tolist() == [[0, 0, 0, 1, 2000]]
    assert converted.missing.tolist() == [[True, False, False, False, False]]


def test_metadata_and_flags_must_agree():
    assert choose(land(offset=-1000), stated_offset=-1000)[0].dn_offset == -1000
    with pytest.raises(ValueError, match="the metadata of the inputs say 0. Leave the flag out"):
        choose(land(), stated_offset=0, dn_offset=-1000)
    with pytest.raises(ValueError, match="--dn_offset=1000: is added to digital numbers"):
        choose(land(), dn_offset=1000)


def test_no_data_is_recognized_or_asked_for():
    pixels = land("int16")
    pixels[0, 0] = -9999
    with pytest.raises(ValueError, match=r"value -9999, too low for reflectance.*say --no_data=-9999\.$"):
        choose(pixels)
    conversion, _ = choose(pixels, no_data=-9999)
    converted = conversion.apply(StoredBand(pixels))
    assert converted.pixels[0, 0] == 0
    assert converted.missing.sum() == 1
    chosen = choose_conversion({"chip.tif": [StoredBand(pixels, no_data=-9999)]})
    assert chosen.conversion.apply(StoredBand(pixels, no_data=-9999)).missing.sum() == 1
    with_nan = land("float32", scale=1e-4)
    with_nan[3, :4] = np.nan
    assert choose(with_nan)[0].apply(StoredBand(with_nan)).missing.sum() == 4


def test_negative_reflectance_becomes_zero():
    pixels = land("int16")
    pixels[0] = -20
    conversion, lines = choose(pixels)
    assert "Negative reflectance is set to 0." in lines
    assert conversion.apply(StoredBand(pixels)).pixels[0, 0] == 0
    assert not conversion.apply(StoredBand(pixels)).missing.any()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (land("uint8"), "values are uint8, as of a picture"),
        (np.full((4, 4), 200, np.uint16), "at most 200, .* Pictures of 8 bits"),
        (np.full((4, 4), 35.5, np.float32), "at most 35.5, .* percent"),
        (np.ones((4, 4), np.uint16), "at most 1, "),
        (np.zeros((4, 4), np.uint16), "contain no data"),
    ],
)
def test_other_units_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        choose(pixels)


def test_inputs_of_different_units_are_refused():
    samples = {"a.tif": [StoredBand(land("float32"))], "b.tif": [StoredBand(land("float32", scale=1e-4))]}
    with pytest.raises(ValueError, match=r"b.tif: its values are at most 0\.3"):
        choose_conversion(samples)
    # Also when they come later.
    with pytest.raises(ValueError, match=r"at most 0\.3, those of other inputs are digital numbers"):
        DnConversion().apply(StoredBand(land("float32", scale=1e-4)))
    with pytest.raises(ValueError, match="up to 3000, too high for reflectance"):
        DnConversion(scale=10_000).apply(StoredBand(land("float32")))


def test_levels_must_agree_and_are_asked_for():
    assert check_level("L2A", "L2A", None, "the name") == ""
    assert check_level("L2A", None, "L2A", "") == ""
    with pytest.raises(ValueError, match=r"inputs are L1C \(reflectance at the top of the atmosphere\) \(band B10\)"):
        check_level("L2A", "L1C", None, "band B10")
    with pytest.raises(ValueError, match="Say --level=L2A if they are"):
        check_level("L2A", None, None, "")
    with pytest.raises(ValueError, match="--level=L2A: the inputs are L1C"):
        check_level("L2A", "L1C", "L2A", "band B10")
    assert "not known" in check_level(None, None, None, "")


def test_linear_backscatter_is_refused():
    check_decibels({"a": [StoredBand(np.array([[-12.0, 1.0]], np.float32))]})
    with pytest.raises(ValueError, match="a: no value of Sentinel-1 is below 0"):
        check_decibels({"a": [StoredBand(np.array([[0.02, 0.3]], np.float32))]})


def test_a_band_that_was_enlarged_by_repetition_gets_its_native_pixels_back():
    native = np.arange(36, dtype=np.uint16).reshape(6, 6) + 1
    enlarged = native.repeat(2, axis=0).repeat(2, axis=1)
    reduced = reduce_to_native(DnPixels(enlarged, np.zeros((12, 12), bool)), 6)
    assert (reduced.pixels == native).all()
    same = DnPixels(native, np.zeros((6, 6), bool))
    assert reduce_to_native(same, 6) is same


def test_no_data_does_not_enter_the_average():
    pixels = np.array([[0, 100, 0, 0], [200, 302, 0, 0], [1, 2, 3, 4], [1, 2, 3, 5]], np.uint16)
    reduced = reduce_to_native(DnPixels(pixels, pixels == 0), 2)
    assert reduced.pixels.tolist() == [[201, 0], [2, 4]]
    assert reduced.missing.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("shape", [(3, 3), (9, 9), (12, 6), (8, 8)])
def test_a_band_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=rf"is {shape[1]} x {shape[0]} px, the model takes 6 x 6 px"):
        reduce_to_native(DnPixels(np.zeros(shape, np.uint16), np.zeros(shape, bool)), 6)
