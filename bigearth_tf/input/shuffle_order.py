"""The order in which an epoch reads the records of the training split.

For each (seed, epoch) there is one sequence of global batches, whatever the number of ranks; a rank reads its rows of
each batch. With three shards and three lanes:

    shards  |--------- shard 2 ---------|---- shard 0 ----|----------------- shard 1 -----------------|
    chunks  | 0 |  2  |  3  |  4  |  1  |  1  |3 |  2  |0 | 0  |  3  |  6  |  5  |  1  |  4  |  2  |7 |
    lanes   |---------- lane 0 ---------| |---------- lane 1 ---------| |---------- lane 2 ---------|
    blocks  |    0    |    1    |   2   | | 0 |    1    |    2    | 3 | |   0   |    1    |    2    |
    pieces  | 0 |  2  |  3  | 4 |4|  1  | | 1 |3 |  2  ||0| 0  |3 |3 || |6 | 5  ||  1  |4 |4 |  2  ||

- Shards are permuted, and so are the chunks of each shard. A chunk is a stretch of records that are read together.
- The result is cut into `num_lanes` lanes of equal length. The gaps between lanes are not read in this epoch; together
  they are less than a global batch.
- A global batch is the next `lane_rows` records of each lane, lane after lane. A rank reads only the lanes that its
  rows come from: shards of its own if equal shards divide evenly among the ranks, a stretch of records otherwise.
- Within a lane, records are shuffled block by block. One block of every lane is what shuffling keeps in memory.
- A block is read piece by piece: a piece is a chunk, or the part of a chunk that belongs to the block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A batch has at most _LANES_OF_SMALL_BATCHES lanes, or as many as give each lane _ROWS_PER_LANE rows. This does not
# depend on the number of ranks, because the order of the records must not.
# If ranks and global batch are powers of two, no two ranks read the same lane as long as each rank has at least
# _ROWS_PER_LANE rows, or there are at most _LANES_OF_SMALL_BATCHES ranks. In other cases two ranks may both read a
# lane, of which each keeps its own rows: 3 ranks with a batch of 96 have 32 rows each of 32 lanes of 3 rows.
_ROWS_PER_LANE = 32
_LANES_OF_SMALL_BATCHES = 32
# Fractional parts of multiples of the golden ratio spread evenly over [0, 1), for any range of lanes.
_GOLDEN = (5**0.5 - 1) / 2
# Distinguish the generators of shards and of lanes, which have the same seed and epoch.
_SHARDS, _LANES = 0, 1


class EpochPosition(NamedTuple):
    """An epoch, and the step in it at which reading starts.

    `seed` and `epoch`, counted from 0, decide the order of the records. `first_step` is the number of steps of the
    epoch that are already done.
    """

    seed: int
    epoch: int
    first_step: int = 0


class Pieces(NamedTuple):
    """Stretches of records, in reading order: index of the shard, first record, number of records, [P] each."""

    shards: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray


class Block(NamedTuple):
    """Records of a lane that are shuffled together; the `number`-th block of the lane, counted from 0."""

    number: int
    pieces: Pieces


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """The order of the records of a split, given its shards, the global batch size and the memory for shuffling.

    `shard_sizes` are the numbers of records of the shards, `block_records` is that of a block and `chunk_records` that
    of a chunk. It is None for compressed shards, which can only be read from their start: then a shard is one chunk,
    and a lane one block.
    """

    shard_sizes: tuple[int, ...]
    global_batch_size: int
    num_lanes: int
    block_records: int
    chunk_records: int | None

    @property
    def num_steps(self) -> int:
        """Number of global batches of an epoch."""
        return sum(self.shard_sizes) // self.global_batch_size

    @property
    def lane_rows(self) -> int:
        """Number of records that each global batch takes from a lane."""
        return self.global_batch_size // self.num_lanes

    @property
    def lane_length(self) -> int:
        """Number of records of a lane."""
        return self.num_steps * self.lane_rows

    def lane_seed(self, seed: int, epoch: int, lane: int) -> int:
        """Returns the seed that, with the number of a block, decides how the block is shuffled; never 0."""
        return int(np.random.default_rng([seed, epoch, _LANES, lane]).integers(1, 2**62))

    def stored_order(self, seed: int, epoch: int) -> Pieces:
        """Returns all records of the split in the epoch's order, before blocks are shuffled."""
        generator = np.random.default_rng([seed, epoch, _SHARDS])
        order = [shard for shard in generator.permutation(len(self.shard_sizes)) if self.shard_sizes[shard]]
        pieces = [_permute_shard(shard, self.shard_sizes[shard], self.chunk_records, generator) for shard in order]
        return join(pieces)

    def lane_blocks(self, stored: Pieces, lane: int, first_step: int) -> tuple[list[Block], int]:
        """Returns the blocks of a lane that are left at a step, and the number of records to skip.

        The first of these blocks contains the lane's first record of the step. The records to skip are those
        before it in shuffled order. The length of block 0 differs from lane to lane, so that the lanes do not all need
        their next block at the same time.

        Args:
            stored: What `stored_order` returns.
            lane: Index of the lane.
            first_step: Steps of the epoch that are already done.
        """
        starts = np.zeros(1, np.int64)
        if self.chunk_records is not None:
            head = self.block_records - int(self.block_records * (lane * _GOLDEN % 1))
            starts = np.array([0, *range(head, self.lane_length, self.block_records)], np.int64)
        counts = np.diff(starts, append=self.lane_length)
        records = cut(stored, lane * sum(self.shard_sizes) // self.num_lanes, self.lane_length)
        target = first_step * self.lane_rows
        first = int(np.searchsorted(starts, target, side="right")) - 1
        blocks = [Block(number, cut(records, starts[number], counts[number])) for number in range(first, len(starts))]
        return blocks, target - int(starts[first])


def plan_order(
    shard_sizes: Sequence[int], global_batch_size: int, *, buffer_records: int, chunk_records: int | None
) -> EpochOrder:
    """Returns the order for a split.

    Args:
        shard_sizes: Number of records of each shard.
        global_batch_size: Records of one step of all ranks together, at most the records of the split.
        buffer_records: Records that shuffling may keep in memory.
        chunk_records: Records that are read together; None if shards are compressed.
    """
    most = (
        len(shard_sizes) if chunk_records is None else max(_LANES_OF_SMALL_BATCHES, global_batch_size // _ROWS_PER_LANE)
    )
    num_lanes = max(number for number in range(1, most + 1) if global_batch_size % number == 0)
    return EpochOrder(
        shard_sizes=tuple(shard_sizes),
        global_batch_size=global_batch_size,
        num_lanes=num_lanes,
        block_records=max(1, buffer_records // num_lanes),
        chunk_records=chunk_records,
    )


def cut(pieces: Pieces, start: int, count: int) -> Pieces:
    """Returns `count` records, from the `start`-th on, of the records that the pieces contain in order."""
    ends = np.cumsum(pieces.counts)
    begins = ends - pieces.counts
    kept = (begins < start + count) & (ends > start) & (begins < ends)
    before = np.maximum(start - begins, 0)[kept]
    after = np.maximum(ends - start - count, 0)[kept]
    return Pieces(pieces.shards[kept], pieces.firsts[kept] + before, pieces.counts[kept] - before - after)


def join(pieces: Sequence[Pieces]) -> Pieces:
    """Returns all pieces in one table, in the given order."""
    return Pieces(*(np.concatenate(columns) for columns in zip(*pieces)))


def _permute_shard(shard: int, size: int, chunk_records: int | None, generator: np.random.Generator) -> Pieces:
    """Returns the chunks of a shard in random order; their edges, too, are random."""
    if chunk_records is None:
        return Pieces(np.array([shard]), np.array([0]), np.array([size]))
    phase = int(generator.integers(min(chunk_records, size)))
    starts = np.unique([0, *range(phase, size, chunk_records)])
    counts = np.diff(starts, append=size)
    order = generator.permutation(len(starts))
    return Pieces(np.full(len(starts), shard), starts[order], counts[order])
