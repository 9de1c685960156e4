"""The records of a shard, read back one by one as arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.int64_schema import decode_int64_record
from bigearth_tf.data.manifest import RECONVERT, Manifest, Shard
from bigearth_tf.data.record_schema import check_record
from bigearth_tf.data.sharded_dataset import ShardedDataset


class StoredRecord(NamedTuple):
    """One record: `bands` maps a name to pixels [size_px, size_px], `attributes` are its other texts."""

    patch_id: str
    label_indices: tuple[int, ...]
    bands: dict[str, np.ndarray]
    attributes: dict[str, str]


def read_records(dataset: ShardedDataset, shard: Shard, limit: int | None = None) -> Iterator[StoredRecord]:
    """Yields the records of a shard in order, the first `limit` or all of them.

    Raises:
        ValueError: A record is damaged or has another schema, or their number differs from the manifest.
    """
    path = dataset.shard_path(shard)
    records = tf.data.TFRecordDataset(os.fspath(path), dataset.manifest.compression)
    count = 0
    try:
        for serialized in records.take(-1 if limit is None else limit).as_numpy_iterator():
            yield _decode(serialized, dataset.manifest)
            count += 1
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"{path}: record {count}: {error if isinstance(error, ValueError) else 'its bytes are damaged'}. "
            f"{RECONVERT}"
        ) from error
    if limit is None and count != shard.num_records:
        raise ValueError(f"{path}: {count} records, the manifest says {shard.num_records}. {RECONVERT}")


def sample_records(dataset: ShardedDataset, split: str, count: int) -> list[StoredRecord]:
    """Returns up to `count` records spread evenly over the shards of a split, always the same ones.

    Shards are shuffled, so that their first records are a random sample; nothing else is read.
    """
    shards = dataset.shards(split)
    ends = np.cumsum([shard.num_records for shard in shards])
    count = min(count, int(ends[-1]))
    places = np.searchsorted(ends, np.arange(count) * ends[-1] // max(1, count), side="right")
    limits = np.bincount(places, minlength=len(shards)).tolist()
    return [record for shard, limit in zip(shards, limits) if limit for record in read_records(dataset, shard, limit)]


def _decode(serialized: bytes, manifest: Manifest) -> StoredRecord:
    if manifest.record_format != "bigearth_tf":
        return StoredRecord(*decode_int64_record(serialized, manifest.bands, manifest.record_format), {})
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
