"""Batches of one rank, read from shards: shuffled anew each epoch for training, in stable order for evaluation.

A batch is `bands {name: [B, size_px, size_px]}` in storage type, `labels float32 [B, K]`, `patch_id string [B]` and
`mask float32 [B]`, 0 for padding. B is the batch size of one rank.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.manifest import Manifest, Shard
from bigearth_tf.data.record_formats import FORMATS
from bigearth_tf.data.record_schema import parse_attributes
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.read_tables import Table, read_row, tabulate_lanes, tabulate_pieces
from bigearth_tf.input.shuffle_order import EpochOrder, EpochPosition, Pieces, cut, plan_order

# Size of a chunk, a stretch of records that are read together: large enough for a hard disk to read at full speed.
_CHUNK_BYTES = 8e6
# Shards that evaluation reads at the same time.
_CONCURRENT_SHARDS = 4
# Batches kept ready for the device.
_READY_BATCHES = 2
# Bytes of one read from a file.
_READ_BYTES = 1 << 18
_RECORD_SPEC = tf.TensorSpec([], tf.string)
# No Python branch here depends on a tensor, so AutoGraph need not convert the code, which takes a second per process.
_do_not_convert = tf.autograph.experimental.do_not_convert


def steps_per_epoch(manifest: Manifest, global_batch_size: int, replica: Replica) -> int:
    """Returns the number of training steps of an epoch, the same on every rank; an incomplete last batch is not read.

    Raises:
        ValueError: The split is smaller than a batch, or the batch is not a multiple of the number of ranks.
    """
    if global_batch_size % replica.world_size:
        raise ValueError(
            f"global_batch_size={global_batch_size} is not a multiple of the {replica.world_size} ranks; "
            f"choose {global_batch_size // replica.world_size * replica.world_size or replica.world_size}."
        )
    steps = manifest.num_records("train") // global_batch_size
    if not steps:
        raise ValueError(
            f"global_batch_size={global_batch_size} is more than the {manifest.num_records('train')} training records."
        )
    return steps


def make_train_dataset(
    dataset: ShardedDataset,
    bands: Sequence[Band],
    replica: Replica,
    position: EpochPosition,
    *,
    global_batch_size: int,
    shuffle_mb: float,
) -> tf.data.Dataset:
    """Returns this rank's rows of the global batches of an epoch, from a step on.

    Args:
        dataset: Data set with a split `train`.
        bands: Bands to read.
        replica: This rank. The number of ranks does not change the order of the records.
        position: The epoch, and its first step to read. Records of earlier steps are not read, except those in the
            same shuffled block as the first record.
        global_batch_size: Records of one step of all ranks together: consecutive rows per rank, in the order of ranks.
        shuffle_mb: Memory for shuffling, in 10^6 bytes of records; a few batches of this rank need memory in addition.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: As for `steps_per_epoch`, or the epoch has no such step, or a shard does not contain as many whole
            records as the manifest says.
    """
    steps = steps_per_epoch(dataset.manifest, global_batch_size, replica)
    if not 0 <= position.first_step <= steps:
        raise ValueError(
            f"first_step={position.first_step}: an epoch has {steps} steps of {global_batch_size} records."
        )
    order = _plan_order(dataset.manifest, global_batch_size, shuffle_mb)
    rows = global_batch_size // replica.world_size
    first_row = replica.rank * rows
    lanes = range(first_row // order.lane_rows, -(-(first_row + rows) // order.lane_rows))
    surplus = first_row % order.lane_rows

    @_do_not_convert
    def select_rows(records: tf.Tensor) -> dict[str, tf.Tensor]:
        return _parse(records[surplus : surplus + rows], bands, dataset.manifest, rows)

    return (
        _read_lanes(dataset, order, lanes, position)
        .batch(len(lanes) * order.lane_rows, drop_remainder=True)
        .map(select_rows, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .apply(tf.data.experimental.assert_cardinality(steps - position.first_step))
        .prefetch(_READY_BATCHES)
    )


def make_eval_dataset(
    dataset: ShardedDataset,
    split: str,
    bands: Sequence[Band],
    *,
    batch_size: int,
    replica: Replica,
) -> tf.data.Dataset:
    """Returns this rank's stretch of a split, each record once and in stable order; the last batch is padded.

    If records have attributes, a batch also has `attributes`, of `parse_attributes`.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: The split does not exist, or a shard does not contain as many whole records as the manifest says.
    """
    shards = dataset.shards(split)
    total = dataset.num_records(split)
    first, end = (rank * total // replica.world_size for rank in (replica.rank, replica.rank + 1))
    sizes = np.array([shard.num_records for shard in shards])
    pieces = cut(Pieces(np.arange(len(shards)), np.zeros_like(sizes), sizes), first, end - first)
    read_piece = _make_piece_reader(dataset, shards, pieces)

    @_do_not_convert
    def parse_batch(records: tf.Tensor) -> dict[str, Any]:
        return _parse(records, bands, dataset.manifest, batch_size, dataset.manifest.attributes)

    return (
        tf.data.Dataset.range(len(pieces.counts))
        .interleave(
            read_piece, cycle_length=_CONCURRENT_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        .batch(batch_size)
        .map(parse_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .apply(tf.data.experimental.assert_cardinality(-(-(end - first) // batch_size)))
        .prefetch(_READY_BATCHES)
    )


def _plan_order(manifest: Manifest, global_batch_size: int, shuffle_mb: float) -> EpochOrder:
    shards = manifest.split_shards("train")
    stored_bytes = sum(shard.num_bytes for shard in shards) / manifest.num_records("train")
    # In memory, a compressed record takes at least the bytes of its pixels.
    record_bytes = max(stored_bytes, sum(band.size_px**2 * np.dtype(band.dtype).itemsize for band in manifest.bands))
    return plan_order(
        [shard.num_records for shard in shards],
        global_batch_size,
        buffer_records=int(shuffle_mb * 1e6 / record_bytes),
        chunk_records=None if manifest.compression else max(1, round(_CHUNK_BYTES / record_bytes)),
    )


def _read_lanes(
    dataset: ShardedDataset, order: EpochOrder, lanes: Sequence[int], position: EpochPosition
) -> tf.data.Dataset:
    """Returns the shuffled records of the lanes from a position on, `lane_rows` of each lane in turn."""
    lane_rows, block_rows, pieces = tabulate_lanes(order, lanes, position)
    read_piece = _make_piece_reader(dataset, dataset.shards("train"), pieces)
    lane_table, block_table = _as_tensors(lane_rows), _as_tensors(block_rows)

    @_do_not_convert
    def read_block(index: tf.Tensor) -> tf.data.Dataset:
        block = read_row(block_table, index)
        records = tf.data.Dataset.range(block.first_piece, block.end_piece).flat_map(read_piece)
        return _shuffle(records, order.block_records, block.lane_seed, block.block_seed)

    @_do_not_convert
    def read_lane(index: tf.Tensor) -> tf.data.Dataset:
        lane = read_row(lane_table, index)
        return tf.data.Dataset.range(lane.first_block, lane.end_block).flat_map(read_block).skip(lane.skip)

    return tf.data.Dataset.range(len(lanes)).interleave(
        read_lane,
        cycle_length=len(lanes),
        block_length=order.lane_rows,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _make_piece_reader(
    dataset: ShardedDataset, shards: Sequence[Shard], pieces: Pieces
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Returns a function: index of a piece -> its records as stored."""
    paths = tf.constant([os.fspath(dataset.shard_path(shard)) for shard in shards])
    table = _as_tensors(tabulate_pieces(dataset, shards, pieces))

    @_do_not_convert
    def read_piece(index: tf.Tensor) -> tf.data.Dataset:
        piece = read_row(table, index)
        # The op inside TFRecordDataset: unlike that class, the op can start in the middle of a file.
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=paths[piece.shard : piece.shard + 1],
            compression_type=dataset.manifest.compression,
            buffer_size=_READ_BYTES,
            byte_offsets=[piece.offset],
        )
        records = tf.data.experimental.from_variant(variant, _RECORD_SPEC).skip(piece.skip).take(piece.limit)
        return records.apply(tf.data.experimental.assert_cardinality(piece.count))

    return read_piece


def _as_tensors(table: Table) -> Table:
    # A tensor per column, not a matrix and tf.unstack: TensorFlow 2.15 crashes where `skip` or `take` gets an output
    # of an op other than its first.
    return type(table)(*(tf.constant(column, tf.int64) for column in table))


def _shuffle(records: tf.data.Dataset, buffer: int, seed: tf.Tensor, seed2: tf.Tensor) -> tf.data.Dataset:
    """Returns the records in an order that depends only on these seeds; `Dataset.shuffle` also uses the global seed."""
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=buffer,
        seed=seed,
        seed2=seed2,
        output_types=[tf.string],
        output_shapes=[[]],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, _RECORD_SPEC)


def _parse(
    serialized: tf.Tensor,
    bands: Sequence[Band],
    manifest: Manifest,
    batch_size: int,
    attributes: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the parsed batch, padded to `batch_size` with its first record and mask 0."""
    count = tf.shape(serialized)[0]
    if serialized.shape[0] != batch_size:
        serialized = tf.concat([serialized, tf.repeat(serialized[:1], batch_size - count)], axis=0)
    filled = tf.ensure_shape(serialized, [batch_size])
    batch = FORMATS[manifest.record_format].parse(filled, bands, len(manifest.class_names))
    if attributes:
        batch = {**batch, "attributes": parse_attributes(filled, attributes)}
    return {**batch, "mask": tf.cast(tf.range(batch_size) < count, tf.float32)}
