"""What does a shard hold? Its records, read back one by one as arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bigearth_tf.bands import Band
from bigearth_tf.example_schema import check_record
from bigearth_tf.manifest import Manifest, Shard


class StoredRecord(NamedTuple):
    """One record: `bands` maps a name to pixels [size_px, size_px], `attributes` those texts that it has."""

    patch_id: str
    label_indices: tuple[int, ...]
    bands: dict[str, np.ndarray]
    attributes: dict[str, str]


def read_records(folder: Path, manifest: Manifest, shard: Shard, limit: int | None = None) -> Iterator[StoredRecord]:
    """Yields the records of a shard in order, the first `limit` or all of them.

    Raises:
        ValueError: A record is damaged or of another schema, or there are not as many as the manifest says.
    """
    if manifest.record_format != "bigearth_tf":
        raise ValueError(
            f"{folder}: holds records of the format {manifest.record_format}. Rewrite them with "
            "`python -m tfrecord_tools.convert` first."
        )
    path = folder / shard.name
    records = tf.data.TFRecordDataset(os.fspath(path), manifest.compression)
    count = 0
    try:
        for serialized in records.take(-1 if limit is None else limit).as_numpy_iterator():
            yield _decode(serialized, manifest)
            count += 1
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"{path}: record {count}: {error if isinstance(error, ValueError) else 'its bytes are damaged'}. "
            "Run `python -m tfrecord_tools.verify`, and convert again what it names."
        ) from error
    if limit is None and count != shard.num_records:
        raise ValueError(f"{path}: {count} records, the manifest says {shard.num_records}; convert this again.")


def sample_records(folder: Path, manifest: Manifest, split: str, count: int) -> list[StoredRecord]:
    """Returns up to `count` records spread evenly over the shards of a split, always the same ones.

    Each shard is shuffled already: its first records stand for it, and nothing else is read.
    """
    shards = manifest.split_shards(split)
    count = min(count, manifest.num_records(split))
    wanted = [0] * len(shards)
    position = 0.0
    while sum(wanted) < count:
        index = int(position) % len(shards)
        if wanted[index] < shards[index].num_records:
            wanted[index] += 1
        position += max(1.0, len(shards) / count)
    return [
        record
        for shard, limit in zip(shards, wanted)
        if limit
        for record in read_records(folder, manifest, shard, limit)
    ]


def _decode(serialized: bytes, manifest: Manifest) -> StoredRecord:
    patch_id, label_indices = check_record(serialized, manifest.bands, len(manifest.class_names), manifest.attributes)
    feature = tf.train.Example.FromString(serialized).features.feature
    return StoredRecord(
        patch_id,
        label_indices,
        {band.name: _pixels(feature[band.name].bytes_list.value[0], band) for band in manifest.bands},
        {name: feature[name].bytes_list.value[0].decode() for name in manifest.attributes if name in feature},
    )


def _pixels(raw: bytes, band: Band) -> np.ndarray:
    stored = np.dtype(band.dtype).newbyteorder("<")
    return np.frombuffer(raw, stored).astype(band.dtype, copy=False).reshape(band.size_px, band.size_px)
