"""Synthetic Sentinel-2 records for benchmarks; hard links give each file several names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bigearth_tf.data.label_kind import LabelKind

if TYPE_CHECKING:
    from bigearth_tf.data.manifest import Manifest

_FILES = 8


def write_records(parent: Path, num_records: int, names: int, record_format: str = "bigearth_tf") -> Path:
    """Returns a folder of records and manifest, and writes it if it does not exist.

    Args:
        parent: Where to create the folder, which is named after the record format.
        num_records: Records to write, all of the split train.
        names: Names of each file, as if there were that many times as many files.
        record_format: "bigearth_tf" or "published_s2".
    """
    from bigearth_tf.data.labels import CLASSES_19
    from bigearth_tf.data.manifest import MANIFEST_NAME, Shard, write_manifest

    folder = parent / record_format
    if (folder / MANIFEST_NAME).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for file in range(_FILES):
        numbers = range(file * num_records // _FILES, (file + 1) * num_records // _FILES)
        path = folder / f"file-{file}.tfrecord"
        _write_file(path, record_format, numbers)
        for index in range(names):
            name = f"name-{index}-of-{path.name}"
            (folder / name).unlink(missing_ok=True)
            os.link(path, folder / name)
            shards.append(Shard(name, "train", len(numbers), path.stat().st_size, "", (0,) * len(CLASSES_19)))
    write_manifest(_manifest(record_format, shards), folder)
    return folder


def _manifest(record_format: str, shards: list) -> Manifest:
    from bigearth_tf.data.bands import S2_ALL, get_bands
    from bigearth_tf.data.labels import CLASSES_19
    from bigearth_tf.data.manifest import make_plain_manifest

    return make_plain_manifest(
        dataset="benchmark",
        source="benchmarks/synthetic_records.py",
        licence="none",
        label_kind=LabelKind.MULTI,
        class_names=CLASSES_19,
        bands=get_bands(S2_ALL),
        record_format=record_format,
        shards=tuple(shards),
    )


def _write_file(path: Path, record_format: str, numbers: range) -> None:
    import numpy as np
    import tensorflow as tf

    from bigearth_tf.data.bands import S2_ALL, get_bands
    from bigearth_tf.data.int64_schema import encode_int64_example
    from bigearth_tf.data.record_schema import encode_example

    encode = {"bigearth_tf": encode_example, "published_s2": encode_int64_example}[record_format]
    bands = get_bands(S2_ALL)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for number in numbers:
            generator = np.random.default_rng(number)
            pixels = {
                band.name: generator.normal(band.mean, band.std, (band.size_px, band.size_px))
                .clip(0, 65535)
                .astype(band.dtype)
                for band in bands
            }
            writer.write(encode(f"patch_{number:06d}", [number % 19], pixels, bands))
