"""Folders of int64 records for tests."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from bigearth_tf.data.bands import S1, S2, S2_ALL, get_bands
from bigearth_tf.data.int64_schema import encode_int64_example
from bigearth_tf.data.labels import CLASSES_19, map_to_nomenclature
from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels

# Kind of record -> (record format, bands).
KINDS = {
    "s2": ("published_s2", get_bands(S2_ALL)),
    "mm": ("published_mm", get_bands(S2 + S1)),
    "mm_with_60_m": ("published_mm", get_bands(S2_ALL + S1)),
}


def indices_19(labels_43: list[str]) -> list[int]:
    """Returns the indices into the 19 classes of names of the 43."""
    return [CLASSES_19.index(name) for name in map_to_nomenclature(labels_43, "19")]


def encode_patch(kind: str, index: int, labels_43: list[str]) -> bytes:
    """Returns the int64 record of patch `index` of an archive, with the pixels `random_pixels(band, index)`."""
    record_format, bands = KINDS[kind]
    indices = indices_19(labels_43)
    pixels = {band.name: random_pixels(band, index) for band in bands}
    s1_name = S1_NAMES[index] if record_format == "published_mm" else None
    return encode_int64_example(S2_NAMES[index], indices, pixels, bands, s1_name)


def write_shard(path: Path, records: list[bytes]) -> Path:
    """Writes records into a TFRecord file, and returns its path."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def write_int64_folder(folder: Path, kind: str, splits: dict[str, list[int]], labels, num_shards: int = 2) -> Path:
    """Distributes the patches `splits[split]` over shards; `labels(index)` returns their names of the 43 classes."""
    folder.mkdir(parents=True)
    for split, indices in splits.items():
        for number in range(num_shards):
            records = [encode_patch(kind, index, labels(index)) for index in indices[number::num_shards]]
            write_shard(folder / f"{split}_{number:02d}.tfrecord", records)
    return folder
