"""Byte offsets of records, and messages that name a broken record."""

import dataclasses
import gzip
import struct

import pytest
import tensorflow as tf

from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.input import shard_index
from bigearth_tf.input.shard_index import check_record_counts, find_broken_record, index_shards, name_broken_records
from tests.support.records import write_records

LENGTHS = (5, 0, 700, 12)


@pytest.fixture
def shard(tmp_path):
    folder = tmp_path / "records"
    manifest = write_records(folder, {}, bands="B01,B09")
    path = folder / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for length in LENGTHS:
            writer.write(b"x" * length)
    row = Shard(path.name, "train", len(LENGTHS), path.stat().st_size, "", ())
    return ShardedDataset(folder, dataclasses.replace(manifest, shards=(row,)))


def path_of(dataset):
    return dataset.shard_path(dataset.shards()[0])


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "records"
    return ShardedDataset(folder, write_records(folder, {"train": 7}, num_shards=2, bands="B01,B09"))


def damage(path, position, data=b"\xff"):
    content = bytearray(path.read_bytes())
    content[position : position + len(data)] = data
    path.write_bytes(content)


def test_an_offset_points_at_the_length_of_a_record(shard):
    [offsets] = index_shards(shard, shard.shards())
    content = path_of(shard).read_bytes()
    assert [struct.unpack_from("<Q", content, offset)[0] for offset in offsets] == list(LENGTHS)


def test_a_shard_is_indexed_once_unless_it_changes(shard, monkeypatch):
    index_shards(shard, shard.shards())
    with monkeypatch.context() as patch:
        patch.setattr(shard_index.os, "pread", None)
        index_shards(shard, shard.shards())
    damage(path_of(shard), 0, b"\x06")
    with pytest.raises(ValueError, match="record 0"):
        index_shards(shard, shard.shards())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], r"x.tfrecord: record 3 of 0 ... 3 is damaged.*tfrecord_tools.verify"),
        (lambda content: content[: -12 - 16], r"x.tfrecord: contains 3 records, the manifest says 4"),
        (lambda content: content + b"surplus", r"x.tfrecord: bytes follow the last of 4 records"),
        (lambda content: content + content[:21], r"x.tfrecord: contains 5 records, the manifest says 4"),
        # The wrong length of record 2 points into the middle of record 3.
        (lambda content: content[:37] + b"\xbd" + content[38:], r"x.tfrecord: record 2 of 0 ... 3 is damaged"),
        (lambda content: content[:44] + b"\xff" + content[45:], r"x.tfrecord: record 2 of 0 ... 3 is damaged"),
    ],
)
def test_a_count_that_differs_from_the_manifest_is_refused(shard, change, message):
    path = path_of(shard)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        index_shards(shard, shard.shards())


def test_all_shards_are_counted_unless_compressed(data):
    check_record_counts(data)
    wrong = dataclasses.replace(data.shards()[1], num_records=5)
    manifest = dataclasses.replace(data.manifest, shards=(data.shards()[0], wrong))
    with pytest.raises(ValueError, match=r"train-00001-of-00002.tfrecord: contains 4 records, the manifest says 5"):
        check_record_counts(ShardedDataset(data.folder, manifest))
    check_record_counts(ShardedDataset(data.folder, dataclasses.replace(manifest, compression="GZIP")))


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_broken_record_is_named(data, compression):
    shards = data.shards()
    [_, offset, *_] = index_shards(data, shards[1:])[0]
    path = data.shard_path(shards[1])
    assert find_broken_record(data, "train") is None
    damage(path, offset + 40)
    if compression:
        for shard in shards:
            data.shard_path(shard).write_bytes(gzip.compress(data.shard_path(shard).read_bytes()))
        data = ShardedDataset(data.folder, dataclasses.replace(data.manifest, compression=compression))
    message = r"train-00001-of-00002.tfrecord: record 1 of 0 ... 3 is damaged or cut short.*tfrecord_tools.verify"
    with pytest.raises(ValueError, match=message), name_broken_records(data, "train"):
        list(tf.data.TFRecordDataset(str(path), compression))


def test_a_record_that_is_not_a_patch_is_named(data):
    path = data.shard_path(data.shards()[0])
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in (*records[:2], b"no patch"):
            writer.write(record)
    assert "train-00000-of-00002.tfrecord: record 2 of 0 ... 2 is broken: not a tf.train" in find_broken_record(
        data, "train"
    )


def test_errors_of_other_origin_are_not_changed(data):
    with pytest.raises(tf.errors.InvalidArgumentError, match="of the model"), name_broken_records(data, "train"):
        raise tf.errors.InvalidArgumentError(None, None, "of the model")
    with pytest.raises(tf.errors.DataLossError, match="elsewhere"), name_broken_records(data, "train"):
        raise tf.errors.DataLossError(None, None, "elsewhere")
