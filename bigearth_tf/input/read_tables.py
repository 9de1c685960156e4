"""Tables of the lanes, blocks and pieces that a rank reads; a diagram in shuffle_order.py shows them.

A table is a named tuple of integer columns [N]. `read_row` returns one row in the same form, with a scalar per column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.input.shard_index import index_shards
from bigearth_tf.input.shuffle_order import EpochOrder, EpochPosition, Pieces, join


class LaneTable(NamedTuple):
    """A row per lane: its blocks, `first_block` up to but not including `end_block`, and its records to skip."""

    first_block: Any
    end_block: Any
    skip: Any


class BlockTable(NamedTuple):
    """A row per block: its pieces, `first_piece` up to but not including `end_piece`, and the seeds of its order."""

    first_piece: Any
    end_piece: Any
    lane_seed: Any
    block_seed: Any


class PieceTable(NamedTuple):
    """A row per piece: where its records are, and how many there are.

    `shard` is the index of the shard, `offset` the byte at which reading starts, `skip` the number of records to skip
    from there, `limit` the number of records to read, -1 for all up to the end of the shard, and `count` the number of
    records that the piece must have.
    """

    shard: Any
    offset: Any
    skip: Any
    limit: Any
    count: Any


Table = TypeVar("Table", LaneTable, BlockTable, PieceTable)


def read_row(table: Table, index: Any) -> Table:
    """Returns a row of a table."""
    return type(table)(*(column[index] for column in table))


def tabulate_lanes(
    order: EpochOrder, lanes: Sequence[int], position: EpochPosition
) -> tuple[LaneTable, BlockTable, Pieces]:
    """Returns the lanes, the blocks that they read from a position on, and the pieces of these blocks, in order."""
    stored = order.stored_order(position.seed, position.epoch)
    lane_rows: list[LaneTable] = []
    block_rows: list[BlockTable] = []
    pieces: list[Pieces] = []
    num_pieces = 0
    for lane in lanes:
        blocks, skip = order.lane_blocks(stored, lane, position.first_step)
        lane_rows.append(LaneTable(len(block_rows), len(block_rows) + len(blocks), skip))
        lane_seed = order.lane_seed(position.seed, position.epoch, lane)
        for block in blocks:
            first_piece, num_pieces = num_pieces, num_pieces + len(block.pieces.counts)
            block_rows.append(BlockTable(first_piece, num_pieces, lane_seed, block.number))
            pieces.append(block.pieces)
    return LaneTable(*_columns(lane_rows)), BlockTable(*_columns(block_rows)), join(pieces)


def tabulate_pieces(dataset: ShardedDataset, shards: Sequence[Shard], pieces: Pieces) -> PieceTable:
    """Returns where the records of pieces are; opens no shard except those of the pieces, and no compressed one.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: A shard does not contain as many whole records as the manifest says.
    """
    offsets, skips = np.zeros_like(pieces.firsts), pieces.firsts
    if not dataset.manifest.compression:
        used = np.unique(pieces.shards)
        starts = dict(zip(used, index_shards(dataset, [shards[number] for number in used])))
        offsets = np.array([starts[shard][first] for shard, first in zip(pieces.shards, pieces.firsts)], np.int64)
        skips = np.zeros_like(offsets)
    # The last piece of a shard has no limit, so that a surplus record in the file is read and reported.
    sizes = np.array([shard.num_records for shard in shards])[pieces.shards]
    limits = np.where(pieces.firsts + pieces.counts == sizes, -1, pieces.counts)
    return PieceTable(pieces.shards, offsets, skips, limits, pieces.counts)


def _columns(rows: Sequence[tuple[int, ...]]) -> np.ndarray:
    return np.array(rows, np.int64).T
