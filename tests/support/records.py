"""Small data sets of TFRecords for tests, with classes that a model learns in a few steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest, Shard, make_plain_manifest, write_manifest
from bigearth_tf.data.record_schema import encode_example, parse_examples
from bigearth_tf.runtime.files import file_sha256

CLASS_NAMES = ("dark", "bright", "striped")


def learnable_pixels(band, labels, rng):
    """Returns pixels of a patch that is bright if it has label 1, and striped if it has label 2."""
    level = band.mean + (1.5 if 1 in labels else -0.8) * band.std
    rows = np.arange(band.size_px) // max(1, band.size_px // 20) % 2 if 2 in labels else np.zeros(band.size_px)
    pixels = level + rows[:, np.newaxis] * 2.0 * band.std + rng.normal(0, 0.1 * band.std, (band.size_px, band.size_px))
    return np.clip(pixels, 0, 65535).astype(band.dtype)


class Labels(NamedTuple):
    """The kind of the labels and the names of the classes, of which only the first three occur."""

    kind: LabelKind = LabelKind.MULTI
    class_names: tuple[str, ...] = CLASS_NAMES


MULTI_LABEL = Labels()


def write_records(
    folder: Path,
    counts: dict[str, int],
    num_shards: int = 2,
    bands="RGB",
    seed: int = 0,
    labels: Labels = MULTI_LABEL,
    attributes: Sequence[str] = (),
) -> Manifest:
    """Writes `counts[split]` records of each split, with one or two classes each; returns the manifest.

    Records with an odd number have the attributes; others lack them.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = get_bands(bands)
    shards = []
    for split, count in counts.items():
        for index in range(num_shards):
            numbers = range(index * count // num_shards, (index + 1) * count // num_shards)
            name = f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"
            class_counts = [0] * len(labels.class_names)
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for number in numbers:
                    indices = classes_of(number, labels.kind)
                    texts = dict.fromkeys(attributes, f"país {number}") if number % 2 else {}
                    pixels = {band.name: learnable_pixels(band, indices, rng) for band in rows}
                    writer.write(encode_example(f"{split}_{number:03d}", sorted(indices), pixels, rows, texts))
                    for class_index in indices:
                        class_counts[class_index] += 1
            path = folder / name
            shards.append(Shard(name, split, len(numbers), path.stat().st_size, file_sha256(path), tuple(class_counts)))
    manifest = dataclasses.replace(make_manifest(rows, shards, labels), attributes=tuple(attributes))
    write_manifest(manifest, folder)
    return manifest


def classes_of(number: int, kind: LabelKind) -> set[int]:
    """Returns the label indices of record `number` of a split."""
    if kind is LabelKind.SINGLE:
        return {number % 3}
    return {number % 2} | ({2} if number % 3 == 0 else set())


def make_manifest(bands: tuple[Band, ...], shards: Sequence[Shard], labels: Labels) -> Manifest:
    """Returns the manifest of shards that `encode_example` wrote."""
    return make_plain_manifest(
        dataset="test",
        source="tests/support/records.py",
        licence="none",
        label_kind=labels.kind,
        class_names=labels.class_names,
        bands=bands,
        shards=tuple(shards),
    )


def read_all(folder, manifest):
    """Returns patch id -> (split, band name -> pixels, class names)."""
    found = {}
    for shard in manifest.shards:
        serialized = list(tf.data.TFRecordDataset(str(folder / shard.name)).as_numpy_iterator())
        batch = parse_examples(tf.constant(serialized), manifest.bands, len(manifest.class_names))
        for row, patch_id in enumerate(batch["patch_id"].numpy()):
            pixels = {name: array[row].numpy() for name, array in batch["bands"].items()}
            labels = [manifest.class_names[index] for index in np.flatnonzero(batch["labels"][row])]
            found[patch_id.decode()] = (shard.split, pixels, labels)
    return found
