"""Int64 records: reading, detection of the schema, and checks that report a broken record."""

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import BANDS, S2_ALL, get_bands
from bigearth_tf.data.int64_schema import (
    check_int64_record,
    decode_int64_record,
    detect_int64_format,
    encode_int64_example,
    parse_int64_examples,
    read_example,
)
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.data.manifest import RECORD_FORMATS
from bigearth_tf.data.record_formats import FORMATS
from bigearth_tf.data.record_schema import encode_example, parse_examples
from tests.support.archives import constant_pixels, random_pixels
from tests.support.int64_records import KINDS

LABELS = (2, 13)


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def encode(kind, name="a", labels=LABELS, pixels=constant_pixels):
    record_format, bands = kind
    s1_name = "s1" if record_format == "published_mm" else None
    return encode_int64_example(name, labels, {band.name: pixels(band) for band in bands}, bands, s1_name)


def changed(record, change):
    example = tf.train.Example.FromString(record)
    change(example.features.feature)
    return example.SerializeToString()


def check(kind, record):
    return check_int64_record(record, kind[1], 19, record_format=kind[0])


def test_every_record_format_of_a_manifest_has_functions():
    assert set(FORMATS) == set(RECORD_FORMATS)


def test_the_encoder_writes_the_features_of_the_schema(kind):
    feature = tf.train.Example.FromString(encode(kind, "a", (13, 2))).features.feature
    record_format, bands = kind
    names = {"patch_name"} if record_format == "published_s2" else {"patch_name_s1", "patch_name_s2"}
    labels = {"BigEarthNet-19_labels", "BigEarthNet-19_labels_multi_hot"}
    assert set(feature) == {band.name for band in bands} | names | labels
    lengths = {"B01": 400, "B09": 400} | dict.fromkeys(("B02", "B03", "B04", "B08"), 14400)
    lengths |= dict.fromkeys(("B05", "B06", "B07", "B11", "B12", "B8A"), 3600)
    for band in bands:
        if band.sensor == "S2":
            assert list(feature[band.name].int64_list.value) == constant_pixels(band).ravel().tolist()
            assert len(feature[band.name].int64_list.value) == lengths[band.name]
        else:
            assert len(feature[band.name].float_list.value) == 14400
    assert [name.decode() for name in feature["BigEarthNet-19_labels"].bytes_list.value] == [
        "Arable land", "Transitional woodland, shrub",
    ]  # fmt: skip
    hot = [0] * 19
    hot[2] = hot[13] = 1
    assert list(feature["BigEarthNet-19_labels_multi_hot"].int64_list.value) == hot
    for name in names:
        assert list(feature[name].bytes_list.value) == [b"s1" if name == "patch_name_s1" else b"a"]


def test_batches_equal_those_of_our_own_records(kind):
    record_format, bands = kind
    patches = [("a", (2, 13)), ("b", ()), ("c", tuple(range(19)))]
    theirs, ours = [], []
    for seed, (name, labels) in enumerate(patches):
        pixels = {band.name: random_pixels(band, seed) for band in bands}
        theirs.append(encode(kind, name, labels, lambda band, stored=pixels: stored[band.name]))
        ours.append(encode_example(name, labels, pixels, bands))
    batch = parse_int64_examples(tf.constant(theirs), bands, 19, record_format=record_format)
    expected = parse_examples(tf.constant(ours), bands, 19)
    tf.nest.assert_same_structure(batch, expected)
    for one, other in zip(tf.nest.flatten(batch), tf.nest.flatten(expected)):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_only_the_requested_bands_are_parsed(kind):
    batch = parse_int64_examples(tf.constant([encode(kind)]), get_bands("RGB"), 19, record_format=kind[0])
    assert {name: pixels.dtype.name for name, pixels in batch["bands"].items()} == dict.fromkeys(
        ("B04", "B03", "B02"), "uint16"
    )


@pytest.mark.parametrize("value", [-1, 65536, 2**40])
def test_a_value_outside_the_storage_type_is_refused(kind, value):
    def change(feature):
        feature["B03"].int64_list.value[5] = value

    record = changed(encode(kind), change)
    parse = tf.function(lambda records: parse_int64_examples(records, kind[1], 19, record_format=kind[0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"B03: values outside 0 \.\.\. 65535"):
        parse(tf.constant([encode(kind), record]))
    with pytest.raises(ValueError, match=rf"B03 has values .*{value}.*outside"):
        check(kind, record)


def test_the_schema_is_detected_from_a_record(kind):
    assert detect_int64_format(read_example(encode(kind))) == kind


def test_a_record_of_neither_schema_is_refused_with_the_missing_features():
    example = read_example(encode(KINDS["s2"]))
    example.features.feature.pop("B11")
    example.features.feature.pop("BigEarthNet-19_labels")
    with pytest.raises(ValueError, match="published_s2 needs B11, BigEarthNet-19_labels$"):
        detect_int64_format(example)
    with pytest.raises(ValueError, match="published_mm needs patch_name_s2"):
        detect_int64_format(read_example(encode_example("a", (), {}, ())))


def test_decoding_is_bit_exact(kind):
    record = encode(kind, pixels=lambda band: random_pixels(band, 3))
    name, labels, pixels = decode_int64_record(record, kind[1], kind[0])
    assert (name, labels) == ("a", LABELS) == check(kind, record)
    assert list(pixels) == [band.name for band in kind[1]]
    for band in kind[1]:
        assert pixels[band.name].dtype == band.dtype
        np.testing.assert_array_equal(pixels[band.name], random_pixels(band, 3))


def test_a_patch_without_labels_is_accepted(kind):
    assert check(kind, encode(kind, labels=())) == ("a", ())


def shift_classes(feature):
    hot = feature["BigEarthNet-19_labels_multi_hot"].int64_list.value
    hot[:] = [*list(hot[1:]), hot[0]]


def sort_classes_by_name(feature):
    order = sorted(CLASSES_19)
    names = [name.decode() for name in feature["BigEarthNet-19_labels"].bytes_list.value]
    feature["BigEarthNet-19_labels_multi_hot"].int64_list.value[:] = [int(name in names) for name in order]


@pytest.mark.parametrize("change", [shift_classes, sort_classes_by_name])
def test_another_order_of_classes_is_detected(kind, change):
    with pytest.raises(ValueError, match=r"multi_hot is 1 at .* labels in another class order"):
        check(kind, changed(encode(kind), change))


DAMAGES = {
    "features .'BigEarthNet-19_labels'. are missing": lambda f: f.pop("BigEarthNet-19_labels"),
    "features .'B8A'. are missing": lambda f: f.pop("B8A"),
    "B04 has 14399 values in int64_list, expected 14400": lambda f: f["B04"].int64_list.value.pop(),
    "B05 has 3601 values": lambda f: f["B05"].int64_list.value.append(1),
    "B06 has 0 values in int64_list": lambda f: f["B06"].float_list.value.extend([1.0] * 3600),
    "multi_hot is .*expected 19 of 0 or 1": lambda f: f["BigEarthNet-19_labels_multi_hot"].int64_list.value.pop(),
    "multi_hot is .2, ": lambda f: f["BigEarthNet-19_labels_multi_hot"].int64_list.value.__setitem__(0, 2),
    "Unknown label 'Airports'": lambda f: f["BigEarthNet-19_labels"].bytes_list.value.append(b"Airports"),
    "label is given twice": lambda f: f["BigEarthNet-19_labels"].bytes_list.value.append(b"Arable land"),
    "can't decode byte": lambda f: f["BigEarthNet-19_labels"].bytes_list.value.append(b"\xff"),
    "patch_name\\w* is not one non-empty": lambda f: [f[k].bytes_list.value.append(b"b") for k in f if "patch" in k],
    "patch_name\\w* is not one": lambda f: [f[k].bytes_list.value.__setitem__(0, b"") for k in f if "patch" in k],
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_record_that_does_not_match_its_schema_is_reported(kind, message):
    with pytest.raises(ValueError, match=message):
        check(kind, changed(encode(kind), DAMAGES[message]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_backscatter_that_is_not_finite_is_reported(value):
    kind = KINDS["mm"]

    def change(feature):
        feature["VH"].float_list.value[7] = value

    with pytest.raises(ValueError, match="band VH has values that are not finite"):
        check(kind, changed(encode(kind), change))


def test_a_record_of_a_pair_names_both_patches():
    kind = KINDS["mm"]
    with pytest.raises(ValueError, match="patch_name_s1"):
        check(kind, changed(encode(kind), lambda feature: feature["patch_name_s1"].bytes_list.value.pop()))


def test_other_features_are_ignored(kind):
    record = changed(encode(kind), lambda feature: feature["original_labels"].bytes_list.value.append(b"Airports"))
    assert check(kind, record) == ("a", LABELS)
    assert detect_int64_format(read_example(record)) == kind


def test_a_manifest_of_other_classes_is_refused(kind):
    with pytest.raises(ValueError, match="int64 records have 19 classes and no attributes, the manifest says 43"):
        check_int64_record(encode(kind), kind[1], 43, record_format=kind[0])


def test_random_bytes_are_an_error_and_never_a_crash():
    kind = "published_s2", get_bands(("B01", "B09"))
    pixels = {name: constant_pixels(BANDS[name]) for name in S2_ALL}
    record = encode_int64_example("a", LABELS, pixels, get_bands(S2_ALL))
    rng = np.random.default_rng(0)
    refused = 0
    for round_index in range(300):
        if round_index % 3 == 0:
            damaged = rng.bytes(int(rng.integers(0, 3000)))
        elif round_index % 3 == 1:
            damaged = record[: int(rng.integers(0, len(record)))]
        else:
            content = bytearray(record)
            for position in rng.integers(0, len(record), 20):
                content[position] = int(rng.integers(0, 256))
            damaged = bytes(content)
        try:
            check(kind, damaged)
        except ValueError:
            refused += 1
    assert refused > 200
