"""Encoder, parser and checker of a record, a tf.train.Example.

| feature           | type      | content                                                                     |
|-------------------|-----------|-----------------------------------------------------------------------------|
| `schema_version`  | int64 [1] | `SCHEMA_VERSION`                                                            |
| `patch_id`        | bytes [1] | UTF-8 name of the patch                                                     |
| `labels`          | int64 [n] | ascending indices into the class names of the manifest; n may be 0          |
| one per band      | bytes [1] | the band's pixels, row-major, little-endian, native size and storage type   |
| one per attribute | bytes [1] | a text such as the country; the manifest names them, a record may lack them |

Pixels are bytes, not int64 lists: the same size on disk, and several times faster to write and to parse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import message

from bigearth_tf.data.bands import Band
from bigearth_tf.data.manifest import SCHEMA_VERSION


def encode_example(
    patch_id: str,
    label_indices: Sequence[int],
    pixels: Mapping[str, np.ndarray],
    bands: Sequence[Band],
    attributes: Mapping[str, str] | None = None,
) -> bytes:
    """Returns a serialized tf.train.Example of one patch.

    Args:
        patch_id: Name of the patch.
        label_indices: Indices into the class names of the manifest.
        pixels: Band name -> native array [size_px, size_px] in storage type.
        bands: Rows of the bands to store.
        attributes: Name -> text.

    Raises:
        ValueError: The shape or type of an array differs from the row of its band.
    """
    example = tf.train.Example()
    feature = example.features.feature
    feature["schema_version"].int64_list.value.append(SCHEMA_VERSION)
    feature["patch_id"].bytes_list.value.append(patch_id.encode())
    feature["labels"].int64_list.value.extend(sorted(label_indices))
    for band in bands:
        array = pixels[band.name]
        if array.shape != (band.size_px, band.size_px) or not np.can_cast(array.dtype, band.dtype, "equiv"):
            raise ValueError(
                f"Band {band.name} of {patch_id} is {array.dtype.name} {list(array.shape)}; "
                f"expected {band.dtype} [{band.size_px}, {band.size_px}]."
            )
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        feature[band.name].bytes_list.value.append(little_endian.tobytes())
    for name, text in (attributes or {}).items():
        feature[name].bytes_list.value.append(text.encode())
    return example.SerializeToString(deterministic=True)


def parse_examples(serialized: tf.Tensor, bands: Sequence[Band], num_classes: int) -> dict[str, tf.Tensor]:
    """Returns a batch of `bands {name: [B, size_px, size_px]}`, `labels float32 [B, K]` and `patch_id string [B]`.

    Pixels keep their storage type and unit: the model standardizes them.

    Args:
        serialized: Records, string [B].
        bands: Bands to read; other bands of the record are ignored.
        num_classes: K, the number of class names in the manifest.

    Raises:
        tf.errors.InvalidArgumentError: A record lacks a band, or a label is outside 0 ... K - 1.
    """
    features: dict[str, object] = {band.name: tf.io.FixedLenFeature([], tf.string) for band in bands}
    features["patch_id"] = tf.io.FixedLenFeature([], tf.string)
    features["labels"] = tf.io.VarLenFeature(tf.int64)
    parsed = tf.io.parse_example(serialized, features)
    return {
        "bands": {band.name: _decode_band(parsed[band.name], band) for band in bands},
        "labels": tf.cast(tf.sparse.to_indicator(parsed["labels"], num_classes), tf.float32),
        "patch_id": parsed["patch_id"],
    }


def parse_attributes(serialized: tf.Tensor, names: Sequence[str]) -> dict[str, tf.Tensor]:
    """Returns the texts of a batch by attribute, string [B]; "" where a record lacks the attribute.

    Args:
        serialized: Records, string [B].
        names: Names of attributes, as the manifest lists them.
    """
    if not names:
        return {}
    return tf.io.parse_example(serialized, {name: tf.io.FixedLenFeature([], tf.string, "") for name in names})


def _decode_band(raw: tf.Tensor, band: Band) -> tf.Tensor:
    pixels = tf.io.decode_raw(raw, tf.as_dtype(band.dtype), little_endian=True)
    return tf.reshape(pixels, [-1, band.size_px, band.size_px])


def check_record(
    serialized: bytes, bands: Sequence[Band], num_classes: int, attributes: Sequence[str] = ()
) -> tuple[str, tuple[int, ...]]:
    """Returns the patch id and the label indices of one record after checking every feature.

    Args:
        serialized: The record.
        bands: Bands that it must have.
        num_classes: K, the number of class names in the manifest.
        attributes: Names of the text features that it may have.

    Raises:
        ValueError: The bytes are not an Example, or a feature is missing, unexpected, or of the wrong kind or length.
    """
    example = tf.train.Example()
    try:
        example.ParseFromString(serialized)
    except message.DecodeError as error:
        raise ValueError(f"not a tf.train.Example ({error})") from error
    feature = example.features.feature
    expected = {"schema_version", "patch_id", "labels"} | {band.name for band in bands}
    if set(feature) - set(attributes) != expected:
        raise ValueError(f"features {sorted((set(feature) - set(attributes)) ^ expected)} are missing or unexpected")
    version = list(feature["schema_version"].int64_list.value)
    if version != [SCHEMA_VERSION]:
        raise ValueError(f"schema version {version}, this code reads [{SCHEMA_VERSION}]")
    patch_id = list(feature["patch_id"].bytes_list.value)
    if len(patch_id) != 1 or not patch_id[0]:
        raise ValueError("patch_id is not one non-empty string")
    labels = tuple(feature["labels"].int64_list.value)
    if list(labels) != sorted(set(labels)) or any(not 0 <= index < num_classes for index in labels):
        raise ValueError(f"labels {list(labels)} are not ascending indices below {num_classes}")
    for band in bands:
        lengths = [len(value) for value in feature[band.name].bytes_list.value]
        wanted = band.size_px * band.size_px * np.dtype(band.dtype).itemsize
        if lengths != [wanted]:
            raise ValueError(f"band {band.name} has byte lengths {lengths}, expected [{wanted}]")
    return patch_id[0].decode(), labels
