"""The order of an epoch: each record at most once, for any shards, batch size and first step."""

import itertools

import numpy as np
import pytest

from bigearth_tf.input.shuffle_order import plan_order

SIZES = {
    "one": (1000,),
    "equal": (250, 250, 250, 250),
    "unequal": (1, 700, 40, 0, 259),
    "many": tuple(range(1, 45)),
}
CASES = [
    (sizes, batch, chunk_records)
    for sizes, batch, chunk_records in itertools.product(SIZES, (1, 7, 32, 96, 100, 990), (None, 1, 16, 64))
]


def make_order(sizes="unequal", batch=96, chunk_records=16, buffer_records=200):
    return plan_order(SIZES[sizes], batch, buffer_records=buffer_records, chunk_records=chunk_records)


def read(order, blocks):
    """Returns the records of blocks as (shard, record), before shuffling."""
    return [
        (shard, record)
        for block in blocks
        for shard, first, count in zip(*block.pieces)
        for record in range(first, first + count)
    ]


def read_lanes(order, *, seed=0, epoch=0):
    stored = order.stored_order(seed, epoch)
    return [read(order, order.lane_blocks(stored, lane, 0)[0]) for lane in range(order.num_lanes)]


@pytest.mark.parametrize(("sizes", "batch", "chunk_records"), CASES)
def test_each_record_is_read_at_most_once_and_less_than_a_batch_is_dropped(sizes, batch, chunk_records):
    order = make_order(sizes, batch, chunk_records)
    lanes = read_lanes(order)
    assert order.num_lanes * order.lane_rows == batch
    assert {len(lane) for lane in lanes} == {order.num_steps * order.lane_rows}
    seen = [record for lane in lanes for record in lane]
    assert len(seen) == len(set(seen)) == sum(SIZES[sizes]) // batch * batch
    assert all(0 <= record < SIZES[sizes][shard] for shard, record in seen)


@pytest.mark.parametrize("buffer_records", [40, 200, 5000])
@pytest.mark.parametrize("batch", [7, 96, 990])
def test_the_blocks_of_all_lanes_fit_the_memory_for_shuffling(batch, buffer_records):
    order = make_order("many", batch, buffer_records=buffer_records)
    stored = order.stored_order(0, 0)
    largest = [
        max(block.pieces.counts.sum() for block in order.lane_blocks(stored, lane, 0)[0])
        for lane in range(order.num_lanes)
    ]
    assert sum(largest) <= max(buffer_records, order.num_lanes)


@pytest.mark.parametrize("chunk_records", [None, 16])
@pytest.mark.parametrize("first_step", range(11))
def test_a_later_first_step_reads_the_blocks_that_are_left(first_step, chunk_records):
    order = make_order(chunk_records=chunk_records, buffer_records=100)
    stored = order.stored_order(3, 4)
    for lane in range(order.num_lanes):
        whole, _ = order.lane_blocks(stored, lane, 0)
        blocks, skip = order.lane_blocks(stored, lane, first_step)
        assert [block.number for block in blocks] == list(range(len(whole)))[-len(blocks) :]
        assert read(order, blocks) == read(order, whole[-len(blocks) :])
        assert len(read(order, blocks)) - skip == (order.num_steps - first_step) * order.lane_rows
        # No block of earlier steps is read, except the last one if no step is left.
        assert skip < blocks[0].pieces.counts.sum() or first_step == order.num_steps


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_equal_shards_are_split_evenly(world_size):
    lanes = read_lanes(make_order("equal", batch=32, chunk_records=64))
    rows = len(lanes) // world_size
    shards = [
        {shard for lane in lanes[rank * rows : (rank + 1) * rows] for shard, _ in lane} for rank in range(world_size)
    ]
    assert [len(part) for part in shards] == [4 // world_size] * world_size
    assert len(set.union(*shards)) == 4


def test_each_epoch_has_its_own_order_and_leaves_out_other_records():
    order = make_order("one", batch=96, chunk_records=16)
    first, again, other, seed = [
        read_lanes(order, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert first == again
    assert first != other != seed != first
    dropped = [
        set(itertools.product([0], range(1000))) - {row for lane in lanes for row in lane} for lanes in (first, other)
    ]
    assert dropped[0] != dropped[1]
    seeds = {order.lane_seed(*numbers) for numbers in itertools.product(range(3), range(3), range(3))}
    assert len(seeds) == 27


def test_a_lane_takes_records_from_all_over_a_sorted_shard():
    order = make_order("one", batch=32, chunk_records=16, buffer_records=32 * 30)
    lanes = read_lanes(order)
    span = np.mean([np.ptp([record for _, record in lane[:30]]) for lane in lanes])
    assert span > 100  # 30 consecutive records would span 29.


def test_lanes_need_their_second_block_at_different_times():
    order = make_order("one", batch=4, buffer_records=400)
    stored = order.stored_order(0, 0)
    heads = [order.lane_blocks(stored, lane, 0)[0][0].pieces.counts.sum() for lane in range(4)]
    assert len(set(heads)) == 4
    assert heads[0] == 100
