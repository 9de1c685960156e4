"""How do shards become batches? One data set to train on, which varies by epoch, and one to evaluate on, in order.

A batch is `bands {name: [B, size_px, size_px]}` in storage type, `labels float32 [B, K]`, `patch_id string [B]` and
`mask float32 [B]`, 0 where a record only fills the batch. B is the batch of one rank.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearth_tf.bands import Band
from bigearth_tf.distributed import Replica
from bigearth_tf.manifest import Manifest, Shard
from bigearth_tf.record_formats import FORMATS

_CONCURRENT_SHARDS = 8


def steps_per_epoch(manifest: Manifest, global_batch_size: int, replica: Replica) -> int:
    """Returns the training steps that every rank takes: less than one global batch of records is left over.

    Raises:
        ValueError: The split is smaller than a batch, or the batch is no multiple of the number of ranks.
    """
    if global_batch_size % replica.world_size:
        raise ValueError(
            f"global_batch_size={global_batch_size} is no multiple of the {replica.world_size} ranks; "
            f"choose {global_batch_size // replica.world_size * replica.world_size or replica.world_size}."
        )
    shards = manifest.split_shards("train")
    ranks = [Replica(rank, 0, replica.world_size) for rank in range(replica.world_size)]
    fewest = min(_num_records(shards, rank) for rank in ranks)
    steps = fewest // (global_batch_size // replica.world_size)
    if not steps:
        raise ValueError(
            f"global_batch_size={global_batch_size} is more than the {manifest.num_records('train')} training records."
        )
    return steps


def make_train_dataset(
    folder: str | os.PathLike,
    manifest: Manifest,
    bands: Sequence[Band],
    *,
    global_batch_size: int,
    replica: Replica,
    seed: int,
    epoch: int,
    shuffle_mb: float,
) -> tf.data.Dataset:
    """Returns `steps_per_epoch` batches of the train split, in an order that (seed, epoch, rank, world size) decide."""
    shards = list(manifest.split_shards("train"))
    steps = steps_per_epoch(manifest, global_batch_size, replica)
    whole_shards = _splits_by_shard(shards, replica)
    if whole_shards:
        shards = shards[replica.rank :: replica.world_size]
    shards = [shards[index] for index in np.random.default_rng([seed, epoch]).permutation(len(shards))]
    records = _read(folder, shards, manifest.compression)
    if not whole_shards:
        records = records.shard(replica.world_size, replica.rank)
    mean_bytes = sum(shard.num_bytes for shard in shards) / sum(shard.num_records for shard in shards)
    buffer = max(1, int(shuffle_mb * 1e6 / mean_bytes))
    # The generator mixes seed, epoch and rank well; their sum would make epoch 1 of rank 0 that of epoch 0 of rank 1.
    shuffle_seed = int(np.random.default_rng([seed, epoch, replica.rank]).integers(2**62))
    batch_size = global_batch_size // replica.world_size
    return (
        records.shuffle(buffer, seed=shuffle_seed)
        .batch(batch_size, drop_remainder=True)
        .take(steps)
        .map(lambda batch: _parse(batch, bands, manifest, batch_size), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def make_eval_dataset(
    folder: str | os.PathLike,
    manifest: Manifest,
    split: str,
    bands: Sequence[Band],
    *,
    batch_size: int,
    replica: Replica,
) -> tf.data.Dataset:
    """Returns this rank's records of a split, each once and in stable order; padding of the last batch is masked."""
    records = _read(folder, manifest.split_shards(split), manifest.compression).shard(replica.world_size, replica.rank)
    return (
        records.batch(batch_size)
        .map(lambda batch: _parse(batch, bands, manifest, batch_size), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def _splits_by_shard(shards: Sequence[Shard], replica: Replica) -> bool:
    """Whether each rank reads files of its own; otherwise all read every file and take each their records."""
    return len(shards) % replica.world_size == 0


def _num_records(shards: Sequence[Shard], replica: Replica) -> int:
    """Returns the number of records that a rank trains on."""
    if _splits_by_shard(shards, replica):
        return sum(shard.num_records for shard in shards[replica.rank :: replica.world_size])
    total = sum(shard.num_records for shard in shards)
    return (total - replica.rank + replica.world_size - 1) // replica.world_size


def _read(folder: str | os.PathLike, shards: Sequence[Shard], compression: str) -> tf.data.Dataset:
    paths = [os.fspath(Path(folder) / shard.name) for shard in shards]
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        lambda path: tf.data.TFRecordDataset(path, compression),
        cycle_length=min(_CONCURRENT_SHARDS, len(paths)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _parse(serialized: tf.Tensor, bands: Sequence[Band], manifest: Manifest, batch_size: int) -> dict[str, tf.Tensor]:
    """Returns the parsed batch, filled up to `batch_size` by repeating its first record with mask 0."""
    count = tf.shape(serialized)[0]
    filled = tf.concat([serialized, tf.repeat(serialized[:1], batch_size - count)], axis=0)
    filled = tf.ensure_shape(filled, [batch_size])
    batch = FORMATS[manifest.record_format].parse(filled, bands, len(manifest.class_names))
    return {**batch, "mask": tf.cast(tf.range(batch_size) < count, tf.float32)}
