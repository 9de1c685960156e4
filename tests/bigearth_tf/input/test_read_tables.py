"""Tables of what a rank reads: ranges of blocks and pieces, and the places of the records of a piece."""

import dataclasses
import struct

import numpy as np
import pytest

from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.input.read_tables import PieceTable, read_row, tabulate_lanes, tabulate_pieces
from bigearth_tf.input.shuffle_order import EpochPosition, Pieces, plan_order
from tests.support.records import write_records


@pytest.fixture
def dataset(tmp_path):
    return ShardedDataset(tmp_path / "r", write_records(tmp_path / "r", {"train": 9}, num_shards=2, bands="B01"))


@pytest.mark.parametrize("first_step", [0, 2])
def test_ranges_of_blocks_and_pieces_follow_each_other(first_step):
    order = plan_order((40, 3, 57), 6, buffer_records=30, chunk_records=8)
    position = EpochPosition(seed=1, epoch=2, first_step=first_step)
    lanes, blocks, pieces = tabulate_lanes(order, range(1, 4), position)
    assert lanes.first_block.tolist() == [0, *lanes.end_block[:-1]]
    assert blocks.first_piece.tolist() == [0, *blocks.end_piece[:-1]]
    assert (lanes.end_block[-1], blocks.end_piece[-1]) == (len(blocks.block_seed), len(pieces.counts))
    stored = order.stored_order(1, 2)
    for index, lane in enumerate(range(1, 4)):
        row = read_row(lanes, index)
        expected, skip = order.lane_blocks(stored, lane, first_step)
        assert (row.end_block - row.first_block, row.skip) == (len(expected), skip)
        for number, block in zip(range(row.first_block, row.end_block), expected):
            found = read_row(blocks, number)
            assert (found.lane_seed, found.block_seed) == (order.lane_seed(1, 2, lane), block.number)
            for column, wanted in zip(pieces, block.pieces):
                np.testing.assert_array_equal(column[found.first_piece : found.end_piece], wanted)


def test_a_piece_starts_at_its_first_record_and_is_unlimited_at_the_end_of_a_shard(dataset):
    # Shards of 4 and 5 records.
    pieces = Pieces(np.array([1, 0, 1]), np.array([2, 0, 0]), np.array([3, 2, 2]))
    shards = dataset.shards("train")
    table = tabulate_pieces(dataset, shards, pieces)
    assert (table.shard.tolist(), table.skip.tolist()) == ([1, 0, 1], [0, 0, 0])
    assert (table.limit.tolist(), table.count.tolist()) == ([-1, 2, 2], [3, 2, 2])
    content = dataset.shard_path(shards[1]).read_bytes()
    length = struct.unpack_from("<Q", content, 0)[0] + 16
    assert table.offset.tolist() == [length + struct.unpack_from("<Q", content, length)[0] + 16, 0, 0]


def test_a_compressed_shard_is_read_from_its_start(dataset):
    compressed = ShardedDataset(dataset.folder, dataclasses.replace(dataset.manifest, compression="GZIP"))
    pieces = Pieces(np.array([1]), np.array([2]), np.array([2]))
    table = tabulate_pieces(compressed, dataset.shards("train"), pieces)
    assert [column.tolist() for column in table] == [[1], [0], [2], [2], [2]]
    assert read_row(table, 0) == PieceTable(shard=1, offset=0, skip=2, limit=2, count=2)
