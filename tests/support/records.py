"""Writes small data sets of real TFRecords, for the tests of whatever reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest, Shard, write_manifest
from bigearth_tf.data.record_schema import encode_example
from bigearth_tf.runtime.files import file_sha256

CLASS_NAMES = ("dark", "bright", "striped")


def learnable_pixels(band, labels, rng):
    """Bright patches are bright, striped ones striped: a few steps learn it."""
    level = band.mean + (1.5 if 1 in labels else -0.8) * band.std
    rows = np.arange(band.size_px) // max(1, band.size_px // 20) % 2 if 2 in labels else np.zeros(band.size_px)
    pixels = level + rows[:, np.newaxis] * 2.0 * band.std + rng.normal(0, 0.1 * band.std, (band.size_px, band.size_px))
    return np.clip(pixels, 0, 65535).astype(band.dtype)


def write_records(
    folder: Path,
    counts: dict[str, int],
    num_shards: int = 2,
    bands="RGB",
    seed: int = 0,
    label_kind: LabelKind = LabelKind.MULTI,
    class_names=CLASS_NAMES,
) -> Manifest:
    """Writes `counts[split]` records a split, each with one or two of the first three classes; returns the manifest."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = get_bands(bands)
    shards = []
    for split, count in counts.items():
        for index in range(num_shards):
            numbers = range(index * count // num_shards, (index + 1) * count // num_shards)
            name = f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"
            class_counts = [0] * len(class_names)
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for number in numbers:
                    labels = {number % 2} | ({2} if number % 3 == 0 else set())
                    if label_kind is LabelKind.SINGLE:
                        labels = {number % 3}
                    pixels = {band.name: learnable_pixels(band, labels, rng) for band in rows}
                    writer.write(encode_example(f"{split}_{number:03d}", sorted(labels), pixels, rows))
                    for label in labels:
                        class_counts[label] += 1
            path = folder / name
            shards.append(Shard(name, split, len(numbers), path.stat().st_size, file_sha256(path), tuple(class_counts)))
    manifest = Manifest(
        schema_version=1,
        dataset="test",
        source="tests/support/records.py",
        licence="none",
        label_kind=label_kind,
        class_names=tuple(class_names),
        bands=rows,
        attributes=(),
        compression="",
        record_format="bigearth_tf",
        shards=tuple(shards),
        exclusions={},
        problems=(),
        options={},
        versions={},
    )
    write_manifest(manifest, folder)
    return manifest
