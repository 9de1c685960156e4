"""The order in which an epoch reads the records of the training split.

For each (seed, epoch) there is one sequence of global batches, whatever the number of ranks; a rank reads its rows of
each batch. With three shards and three lanes:

    shards   |--------- shard 2 ---------|---- shard 0 ----|------------- shard 1 -------------|  in random order
    runs     |  4  |  1  |  3  | 0 |  2  |  1  |  2  |  0  |2|  5  |  0  |  3  |  1  |  4  |  6 |  and so within a shard
    lanes    |-------- lane 0 --------|  |-------- lane 1 --------|  |-------- lane 2 --------|    of equal length
    blocks   |  b0  |   b1   |   b2   |  | b0 |   b1   |   b2   |b|  |b0|   b1   |   b2   | b3|    shuffled in memory
    pieces   |  4  |1|1| 3 |3|3| 0 |2 |  |2|1|1|  2  |2|0| ...                                     read one by one

- Shards are permuted, and so are runs within a shard. A run is a stretch of records that are read together.
- The result is cut into `num_lanes` lanes of equal length. What is left between lanes is less than a global batch in
  all, and is not read in this epoch.
- Every global batch takes the next `lane_rows` records of each lane, lane after lane. A rank reads the lanes that its
  rows come from and no others: its own shards where equal shards divide evenly, a stretch of records otherwise.
- Within a lane, records are shuffled block by block. The blocks that all lanes shuffle at a time are what shuffling may
  keep in memory.
- A block consists of pieces: a piece is a run, or the part of a run that the block contains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A rank's own rows are lanes of its own as long as there are this many rows a rank, or as few ranks as this.
_ROWS_PER_LANE = 32
_MIN_LANES = 32
# Multiples of the golden ratio spread evenly over [0, 1), and so do those of any stretch of lanes.
_GOLDEN = (5**0.5 - 1) / 2
# So that no two uses of a generator share its numbers.
_SHARDS, _LANES = 0, 1


class EpochPosition(NamedTuple):
    """An epoch and the first step to read of it.

    `seed` and `epoch`, the number of passes before this one, decide the order of the records. `first_step` is the
    number of steps of the epoch that were already taken.
    """

    seed: int
    epoch: int
    first_step: int = 0


class Pieces(NamedTuple):
    """Stretches of shards, one after another: index of the shard, first record and number of records, [P] each."""

    shards: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray


class Block(NamedTuple):
    """Records of a lane that are shuffled together. `number` counts the blocks of the lane."""

    number: int
    pieces: Pieces


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """The order of the records for a split of `shard_sizes`, a global batch and a memory.

    `buffer` are the records of a lane that shuffling keeps, `run` those that stay neighbours when a shard is permuted.
    `run` is None where shards are only quick to read from their start: then a shard is one run, and a lane one block.
    """

    shard_sizes: tuple[int, ...]
    global_batch_size: int
    num_lanes: int
    buffer: int
    run: int | None

    @property
    def num_steps(self) -> int:
        """Global batches of an epoch."""
        return sum(self.shard_sizes) // self.global_batch_size

    @property
    def lane_rows(self) -> int:
        """Records that each global batch takes from a lane."""
        return self.global_batch_size // self.num_lanes

    @property
    def lane_length(self) -> int:
        """Records that a lane has in an epoch."""
        return self.num_steps * self.lane_rows

    def lane_seed(self, seed: int, epoch: int, lane: int) -> int:
        """Returns what decides, with the index of a block, how the block is shuffled; never 0."""
        return int(np.random.default_rng([seed, epoch, _LANES, lane]).integers(1, 2**62))

    def stored_order(self, seed: int, epoch: int) -> Pieces:
        """Returns all records of the split in the epoch's order before shuffling in blocks."""
        generator = np.random.default_rng([seed, epoch, _SHARDS])
        order = [shard for shard in generator.permutation(len(self.shard_sizes)) if self.shard_sizes[shard]]
        pieces = [_permute_shard(shard, self.shard_sizes[shard], self.run, generator) for shard in order]
        return join(pieces)

    def lane_blocks(self, stored: Pieces, lane: int, first_step: int) -> tuple[list[Block], int]:
        """Returns a lane's blocks from the one on that holds its first record of a step, and the records to skip.

        Those are records of the first block, after shuffling, that belong to earlier steps. The first block of a lane
        is shorter than the others, of each lane by another share, so that the lanes do not all need their next block
        at the same time.

        Args:
            stored: As of `stored_order`.
            lane: Index of the lane.
            first_step: Steps of the epoch that were already taken.
        """
        starts = np.zeros(1, np.int64)
        if self.run is not None:
            head = self.buffer - int(self.buffer * (lane * _GOLDEN % 1))
            starts = np.array([0, *range(head, self.lane_length, self.buffer)], np.int64)
        counts = np.diff(starts, append=self.lane_length)
        records = cut(stored, lane * sum(self.shard_sizes) // self.num_lanes, self.lane_length)
        target = first_step * self.lane_rows
        first = int(np.searchsorted(starts, target, side="right")) - 1
        blocks = [Block(number, cut(records, starts[number], counts[number])) for number in range(first, len(starts))]
        return blocks, target - int(starts[first])


def plan_order(
    shard_sizes: Sequence[int], global_batch_size: int, *, buffer_records: int, run: int | None
) -> EpochOrder:
    """Returns the order for a split whose shards hold so many records.

    Args:
        shard_sizes: Records of each shard.
        global_batch_size: Records of one step of all ranks together, at most those of the split.
        buffer_records: Records that shuffling may keep in memory.
        run: Records that are read together; None where shards are only quick to read from their start.
    """
    most = len(shard_sizes) if run is None else max(_MIN_LANES, global_batch_size // _ROWS_PER_LANE)
    num_lanes = max(number for number in range(1, most + 1) if global_batch_size % number == 0)
    return EpochOrder(
        shard_sizes=tuple(shard_sizes),
        global_batch_size=global_batch_size,
        num_lanes=num_lanes,
        buffer=max(1, buffer_records // num_lanes),
        run=run,
    )


def cut(pieces: Pieces, start: int, count: int) -> Pieces:
    """Returns `count` records from the `start`-th on of what the pieces hold one after another."""
    ends = np.cumsum(pieces.counts)
    begins = ends - pieces.counts
    kept = (begins < start + count) & (ends > start) & (begins < ends)
    before = np.maximum(start - begins, 0)[kept]
    after = np.maximum(ends - start - count, 0)[kept]
    return Pieces(pieces.shards[kept], pieces.firsts[kept] + before, pieces.counts[kept] - before - after)


def join(pieces: Sequence[Pieces]) -> Pieces:
    """Returns what the pieces hold one after another."""
    return Pieces(*(np.concatenate(columns) for columns in zip(*pieces)))


def _permute_shard(shard: int, size: int, run: int | None, generator: np.random.Generator) -> Pieces:
    """Returns the records of a shard in runs of random order, cut at other records each time."""
    if run is None:
        return Pieces(np.array([shard]), np.array([0]), np.array([size]))
    phase = int(generator.integers(min(run, size)))
    starts = np.unique([0, *range(phase, size, run)])
    counts = np.diff(starts, append=size)
    order = generator.permutation(len(starts))
    return Pieces(np.full(len(starts), shard), starts[order], counts[order])
