"""Records: bit-exact round trip, and checks that report a broken record."""

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.record_schema import check_record, encode_example, parse_examples
from tests.support.archives import constant_pixels, random_pixels

ALL = get_bands(BANDS)


def encode(patch_id="a", labels=(1, 4), pixels=constant_pixels):
    return encode_example(patch_id, labels, {band.name: pixels(band) for band in ALL}, ALL)


def test_round_trip_is_bit_exact_and_keeps_types():
    records = [encode("a", (1, 4), lambda band: random_pixels(band, 1)), encode("b", (), constant_pixels)]
    batch = parse_examples(tf.constant(records), ALL, 5)
    for band in ALL:
        pixels = batch["bands"][band.name].numpy()
        assert pixels.dtype == band.dtype
        np.testing.assert_array_equal(pixels, [random_pixels(band, 1), constant_pixels(band)])
    np.testing.assert_array_equal(batch["labels"], [[0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
    assert batch["patch_id"].numpy().tolist() == [b"a", b"b"]


def test_bytes_are_little_endian_and_stable():
    example = tf.train.Example.FromString(encode())
    assert example.features.feature["B02"].bytes_list.value[0][:2] == (107).to_bytes(2, "little")
    assert encode() == encode()


def test_only_the_requested_bands_are_read():
    assert set(parse_examples(tf.constant([encode()]), get_bands("RGB"), 5)["bands"]) == {"B04", "B03", "B02"}


@pytest.mark.parametrize("array", [np.zeros((60, 60), np.uint16), np.zeros((120, 120), np.int16)])
def test_a_wrong_shape_or_type_is_not_encoded(array):
    with pytest.raises(ValueError, match=r"Band B02 of a is .*expected uint16 \[120, 120\]"):
        encode_example("a", (), {"B02": array}, get_bands("B02"))


def test_a_label_outside_the_classes_is_an_error_of_the_parser():
    with pytest.raises(tf.errors.InvalidArgumentError):
        parse_examples(tf.constant([encode(labels=(7,))]), ALL, 5)


def test_check_record_accepts_what_the_encoder_writes():
    assert check_record(encode(), ALL, 5) == ("a", (1, 4))


def test_attributes_are_stored_and_only_declared_ones_are_accepted():
    record = encode_example(
        "a", (), {"B02": constant_pixels(BANDS["B02"])}, get_bands("B02"), {"country": "Österreich"}
    )
    feature = tf.train.Example.FromString(record).features.feature
    assert feature["country"].bytes_list.value[0].decode() == "Österreich"
    assert check_record(record, get_bands("B02"), 5, ("country", "season")) == ("a", ())
    with pytest.raises(ValueError, match="country"):
        check_record(record, get_bands("B02"), 5)


def damaged(change):
    example = tf.train.Example.FromString(encode())
    change(example.features.feature)
    return example.SerializeToString()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda feature: feature.pop("VV"), "VV.*missing"),
        (lambda feature: feature["more"].int64_list.value.append(1), "more.*unexpected"),
        (lambda feature: feature["schema_version"].int64_list.value.append(2), "schema version"),
        (lambda feature: feature["labels"].int64_list.value.append(5), "labels"),
        (lambda feature: feature["labels"].int64_list.value.append(1), "labels"),
        (lambda feature: feature["patch_id"].ClearField("bytes_list"), "patch_id"),
        (lambda feature: feature["B05"].bytes_list.value.append(b""), "B05 has byte lengths"),
    ],
)
def test_check_record_names_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        check_record(damaged(change), ALL, 5)


@pytest.mark.parametrize("seed", range(50))
def test_random_bytes_are_an_error_and_never_a_crash(seed):
    rng = np.random.default_rng(seed)
    record = bytearray(encode())
    for position in rng.integers(0, 400, 5):
        record[position] = rng.integers(256)
    for garbage in (bytes(record), rng.bytes(int(rng.integers(0, 3000))), bytes(record[: rng.integers(len(record))])):
        try:
            check_record(garbage, ALL, 5)
        except ValueError as error:
            assert str(error)
