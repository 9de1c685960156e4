"""Parser, checker and encoder of int64 records, the TFRecords of the BigEarthNet-19 benchmark.

There are two schemas (`tensorflow_utils.py` and `inputs.py` of
https://git.tu-berlin.de/rsim/BigEarthNet-S2_19-classes_models). Manifests name them `published_s2` and `published_mm`:
`published_s2` has all features except those of the last two rows; `published_mm` has the names of both patches of the
pair instead of `patch_name`, both S1 bands, and may lack B01 and B09.

| feature                           | type            | content                                                    |
|-----------------------------------|-----------------|------------------------------------------------------------|
| one per S2 band                   | int64 [size^2]  | digital numbers, row-major, native size                    |
| `BigEarthNet-19_labels`           | bytes [n]       | class names; n is 0 if the benchmark dropped all labels    |
| `BigEarthNet-19_labels_multi_hot` | int64 [19]      | 1 at the classes of the patch, in the order of CLASSES_19  |
| `patch_name`                      | bytes [1]       | name of the patch                                          |
| `VV`, `VH`                        | float [size^2]  | backscatter in dB, row-major                               |
| `patch_name_s1`, `patch_name_s2`  | bytes [1]       | names of the two patches of the pair                       |

Other features, such as the labels of the 43 classes that some writers stored, are ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message

from bigearth_tf.data.bands import S1, S2, S2_ALL, Band, get_bands
from bigearth_tf.data.labels import CLASSES_19, label_indices, multi_hot

_NAMES = "BigEarthNet-19_labels"
_MULTI_HOT = "BigEarthNet-19_labels_multi_hot"


@dataclasses.dataclass(frozen=True)
class _Schema:
    """One of the schemas: features of the patch id and of the S1 name; bands that a record must have, and may have."""

    patch_id: str
    s1_name: tuple[str, ...]
    bands: tuple[str, ...]
    all_bands: tuple[str, ...]

    @property
    def required(self) -> tuple[str, ...]:
        """Features that every record must have."""
        return (self.patch_id, *self.s1_name, *self.bands, _NAMES, _MULTI_HOT)


_SCHEMAS = {
    "published_mm": _Schema("patch_name_s2", ("patch_name_s1",), S2 + S1, S2_ALL + S1),
    "published_s2": _Schema("patch_name", (), S2_ALL, S2_ALL),
}
INT64_FORMATS = tuple(_SCHEMAS)


def read_example(serialized: bytes) -> tf.train.Example:
    """Returns a record as an Example.

    Raises:
        ValueError: The bytes are not an Example.
    """
    try:
        return tf.train.Example.FromString(serialized)
    except message.DecodeError as error:
        raise ValueError(f"not a tf.train.Example ({error})") from error


def detect_int64_format(example: tf.train.Example) -> tuple[str, tuple[Band, ...]]:
    """Returns the schema of a record, one of `INT64_FORMATS`, and the bands that it has.

    Raises:
        ValueError: The record matches neither schema.
    """
    present = set(example.features.feature)
    missing = {name: [key for key in schema.required if key not in present] for name, schema in _SCHEMAS.items()}
    for name, keys in missing.items():
        if not keys:
            return name, get_bands(band for band in _SCHEMAS[name].all_bands if band in present)
    lacks = "; ".join(f"{name} needs {', '.join(keys)}" for name, keys in missing.items())
    raise ValueError(f"of neither int64 schema, features are missing: {lacks}")


def parse_int64_examples(
    serialized: tf.Tensor, bands: Sequence[Band], num_classes: int, *, record_format: str
) -> dict[str, tf.Tensor]:
    """Returns what `record_schema.parse_examples` returns for the same patches.

    Args:
        serialized: Records, string [B].
        bands: Bands to read; other bands of the record are ignored.
        num_classes: K, the number of class names in the manifest.
        record_format: One of `INT64_FORMATS`.

    Raises:
        tf.errors.InvalidArgumentError: A record lacks a feature, or a value is outside the range of the storage type.
    """
    id_feature = _SCHEMAS[record_format].patch_id
    features: dict[str, object] = _band_features(bands)
    features[id_feature] = tf.io.FixedLenFeature([], tf.string)
    features[_MULTI_HOT] = tf.io.FixedLenFeature([num_classes], tf.int64)
    parsed = tf.io.parse_example(serialized, features)
    return {
        "bands": {band.name: _to_storage(parsed[band.name], band) for band in bands},
        "labels": tf.cast(_require_range(parsed[_MULTI_HOT], _MULTI_HOT, 1), tf.float32),
        "patch_id": parsed[id_feature],
    }


def _band_features(bands: Sequence[Band]) -> dict[str, object]:
    kinds = {"uint16": tf.int64, "float32": tf.float32}
    return {band.name: tf.io.FixedLenFeature([band.size_px**2], kinds[band.dtype]) for band in bands}


def _to_storage(values: tf.Tensor, band: Band) -> tf.Tensor:
    if band.dtype == "uint16":
        values = tf.cast(_require_range(values, band.name, 65535), tf.uint16)
    return tf.reshape(values, [-1, band.size_px, band.size_px])


def _require_range(values: tf.Tensor, name: str, highest: int) -> tf.Tensor:
    text = f"{name}: values outside 0 ... {highest}"
    checks = [
        tf.debugging.assert_non_negative(tf.reduce_min(values), text),
        tf.debugging.assert_less_equal(tf.reduce_max(values), tf.constant(highest, tf.int64), text),
    ]
    # In eager mode, assertions are None.
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(values)


def read_patch_id(serialized: bytes, record_format: str) -> tuple[str, bool]:
    """Returns the patch id of a record, and whether it says that the patch has no label; checks nothing else.

    Raises:
        ValueError: The bytes are not an Example, or have no patch id.
    """
    feature = read_example(serialized).features.feature
    values = feature[_MULTI_HOT].int64_list.value
    unlabeled = bool(values) and not any(values) and not feature[_NAMES].bytes_list.value
    return _read_text(feature, _SCHEMAS[record_format].patch_id), unlabeled


def decode_int64_record(
    serialized: bytes, bands: Sequence[Band], record_format: str
) -> tuple[str, tuple[int, ...], dict[str, np.ndarray]]:
    """Returns patch id, ascending label indices into `CLASSES_19`, and native pixels in storage type, all checked.

    Raises:
        ValueError: The bytes are not an Example, or a feature is missing, of the wrong kind or length, out of range, or
            contradicts another.
    """
    feature = read_example(serialized).features.feature
    schema = _SCHEMAS[record_format]
    needed = dict.fromkeys((*schema.required, *(band.name for band in bands)))
    missing = [name for name in needed if name not in feature]
    if missing:
        raise ValueError(f"features {missing} are missing")
    patch_id, *_ = [_read_text(feature, name) for name in (schema.patch_id, *schema.s1_name)]
    return patch_id, _read_labels(feature), _read_pixels(serialized, feature, bands)


def _read_text(feature: Mapping[str, Any], name: str) -> str:
    values = list(feature[name].bytes_list.value)
    if len(values) != 1 or not values[0]:
        raise ValueError(f"{name} is not one non-empty string")
    return values[0].decode()


def _read_labels(feature: Mapping[str, Any]) -> tuple[int, ...]:
    values = list(feature[_MULTI_HOT].int64_list.value)
    if len(values) != len(CLASSES_19) or not set(values) <= {0, 1}:
        raise ValueError(f"{_MULTI_HOT} is {values}, expected {len(CLASSES_19)} of 0 or 1")
    indices = tuple(index for index, value in enumerate(values) if value)
    named = label_indices((name.decode() for name in feature[_NAMES].bytes_list.value), CLASSES_19)
    if indices != named:
        raise ValueError(
            f"{_MULTI_HOT} is 1 at {list(indices)}, {_NAMES} are those at {list(named)}: labels in another class order"
        )
    return indices


def _read_pixels(serialized: bytes, feature: Mapping[str, Any], bands: Sequence[Band]) -> dict[str, np.ndarray]:
    for band in bands:
        kind = "int64_list" if band.dtype == "uint16" else "float_list"
        count = len(getattr(feature[band.name], kind).value)
        if count != band.size_px**2:
            raise ValueError(f"band {band.name} has {count} values in {kind}, expected {band.size_px**2}")
    try:
        # Several times faster than reading the lists of the protocol buffer.
        parsed = tf.io.parse_single_example(serialized, _band_features(bands))
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"not a tf.train.Example ({error.message})") from error
    pixels = {}
    for band in bands:
        values = parsed[band.name].numpy()
        if band.dtype == "uint16" and not (values.min() >= 0 and values.max() <= 65535):
            raise ValueError(f"band {band.name} has values {values.min()} ... {values.max()}, outside 0 ... 65535")
        if not np.isfinite(values).all():
            raise ValueError(f"band {band.name} has values that are not finite")
        pixels[band.name] = values.astype(band.dtype).reshape(band.size_px, band.size_px)
    return pixels


def check_int64_record(
    serialized: bytes, bands: Sequence[Band], num_classes: int, attributes: Sequence[str] = (), *, record_format: str
) -> tuple[str, tuple[int, ...]]:
    """Returns the patch id and the label indices of one record after checking every feature.

    Args:
        serialized: The record.
        bands: Bands that it must have.
        num_classes: The number of class names in the manifest.
        attributes: Attributes of the manifest; must be empty, because int64 records have none.
        record_format: One of `INT64_FORMATS`.

    Raises:
        ValueError: As for `decode_int64_record`, or the manifest cannot describe such records.
    """
    if num_classes != len(CLASSES_19) or attributes:
        raise ValueError(
            f"int64 records have {len(CLASSES_19)} classes and no attributes, "
            f"the manifest says {num_classes} and {list(attributes)}"
        )
    patch_id, labels, _ = decode_int64_record(serialized, bands, record_format)
    return patch_id, labels


def encode_int64_example(
    patch_id: str,
    indices: Sequence[int],
    pixels: Mapping[str, np.ndarray],
    bands: Sequence[Band],
    s1_patch_id: str | None = None,
) -> bytes:
    """Returns an int64 record as the benchmark's code wrote it. For tests and benchmarks only.

    Args:
        patch_id: Name of the Sentinel-2 patch.
        indices: Label indices into `CLASSES_19`.
        pixels: Band name -> native array [size_px, size_px] in storage type.
        bands: Bands to store.
        s1_patch_id: Name of the Sentinel-1 patch, which makes the record `published_mm`; None for `published_s2`.
    """

    def texts(*values: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    def integers(values: np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(values: np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    feature = {
        band.name: (integers if band.dtype == "uint16" else floats)(np.ravel(pixels[band.name])) for band in bands
    }
    feature[_NAMES] = texts(*(CLASSES_19[index] for index in sorted(indices)))
    feature[_MULTI_HOT] = integers(multi_hot(indices, len(CLASSES_19)).astype(np.int64))
    if s1_patch_id is None:
        feature["patch_name"] = texts(patch_id)
    else:
        feature.update(patch_name_s1=texts(s1_patch_id), patch_name_s2=texts(patch_id))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
