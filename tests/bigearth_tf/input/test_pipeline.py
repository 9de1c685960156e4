"""Batches: their order by seed and epoch, the same for any number of ranks, and which records are not read."""

import dataclasses
import gzip
import itertools

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.int64_schema import encode_int64_example
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.record_schema import encode_example
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_eval_dataset, make_train_dataset, steps_per_epoch
from bigearth_tf.input.shard_index import index_shards
from bigearth_tf.input.shuffle_order import EpochPosition
from tests.support.records import CLASS_NAMES, write_records

BANDS = get_bands("B01,B09")
SHARDS = {"train": {1: (83,), 4: (20, 21, 21, 21), 6: (2, 30, 0, 1, 25, 25)}, "val": {1: (11,), 4: (2, 0, 8, 1)}}
RECORD_BYTES = 1700  # More than any record has; converts a number of records to shuffle_mb.


def encode(patch_id, number):
    pixels = {band.name: np.full((band.size_px, band.size_px), number, band.dtype) for band in BANDS}
    return encode_example(patch_id, [number % 3], pixels, BANDS)


def write_data(folder, train=4, val=1, compression=""):
    """Writes 83 and 11 small records into shards of the sizes of SHARDS."""
    manifest = write_records(folder, {}, bands="B01,B09")
    shards = []
    for split, count in (("train", train), ("val", val)):
        numbers = itertools.count()
        for index, size in enumerate(SHARDS[split][count]):
            path = folder / f"{split}-{index}.tfrecord"
            with tf.io.TFRecordWriter(str(path), compression) as writer:
                for number in itertools.islice(numbers, size):
                    writer.write(encode(f"{split}_{number:03d}", number))
            shards.append(Shard(path.name, split, size, path.stat().st_size, "", (0,) * len(CLASS_NAMES)))
    return ShardedDataset(folder, dataclasses.replace(manifest, shards=tuple(shards), compression=compression))


@pytest.fixture(scope="module", params=[(1, ""), (6, ""), (4, "GZIP")], ids=str)
def data(request, tmp_path_factory):
    train, compression = request.param
    return write_data(tmp_path_factory.mktemp("data") / "records", train, compression=compression)


@pytest.fixture
def fresh(tmp_path):
    return write_data(tmp_path / "records")


def make(data, *, batch=12, rank=0, world_size=1, seed=1, epoch=0, first_step=0, buffer_records=40):
    return make_train_dataset(
        data,
        BANDS,
        Replica(rank, rank, world_size),
        EpochPosition(seed, epoch, first_step),
        global_batch_size=batch,
        shuffle_mb=buffer_records * RECORD_BYTES / 1e6,
    )


def train_ids(data, **options):
    """Returns the patch ids, batch by batch."""
    return [batch["patch_id"].numpy().tolist() for batch in make(data, **options)]


def flat(nested):
    return list(itertools.chain.from_iterable(nested))


# In a batch of 12, each row is a lane; in a batch of 34, each lane has two rows, and both ranks read one of the lanes.
@pytest.mark.parametrize(("batch", "world_sizes"), [(12, (2, 3, 4, 6)), (34, (2,))])
def test_batches_of_several_ranks_are_those_of_one_rank(data, batch, world_sizes):
    alone = train_ids(data, batch=batch)
    for world_size in world_sizes:
        ranks = [train_ids(data, batch=batch, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert [flat(parts) for parts in zip(*ranks)] == alone
        assert {len(part) for rank in ranks for part in rank} == {batch // world_size}


@pytest.mark.parametrize("batch", [4, 83])
def test_an_epoch_has_each_record_at_most_once_and_drops_less_than_a_batch(data, batch):
    batches = train_ids(data, batch=batch)
    assert len(batches) == steps_per_epoch(data.manifest, batch, Replica()) == 83 // batch
    seen = flat(batches)
    assert len(seen) == len(set(seen)) == 83 // batch * batch
    assert set(seen) <= {f"train_{number:03d}".encode() for number in range(83)}


@pytest.mark.parametrize(("batch", "first_steps"), [(12, (1, 4, 6)), (36, (1,))])
def test_an_epoch_resumes_at_a_step(data, batch, first_steps):
    whole = train_ids(data, batch=batch)
    for first_step in first_steps:
        assert train_ids(data, batch=batch, first_step=first_step) == whole[first_step:]
    assert train_ids(data, batch=batch, first_step=1, rank=1, world_size=2) == [ids[batch // 2 :] for ids in whole[1:]]


def test_order_depends_only_on_seed_and_epoch(data):
    tf.random.set_seed(5)
    first = train_ids(data)
    tf.random.set_seed(6)
    assert train_ids(data) == first
    assert train_ids(data, epoch=1) != first
    assert train_ids(data, seed=2) != first


def test_records_are_shuffled(data):
    order = [int(patch_id[-3:]) for patch_id in flat(train_ids(data, batch=4, buffer_records=80))]
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.5
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.2


def damage_records(data, keep):
    """Damages the content, not the length, of all records except those to keep: reading a damaged one is an error."""
    for split in ("train", "val"):
        numbers = itertools.count()
        shards = data.shards(split)
        for shard, offsets in zip(shards, index_shards(data, shards)):
            content = bytearray(data.shard_path(shard).read_bytes())
            for offset, number in zip(offsets, numbers):
                if f"{split}_{number:03d}".encode() not in keep:
                    content[offset + 100 : offset + 200] = bytes(100)
            data.shard_path(shard).write_bytes(content)


def test_records_of_earlier_steps_are_not_read(fresh):
    # Blocks of one record: only the records of later steps are needed.
    batches = train_ids(fresh, buffer_records=12)
    damage_records(fresh, set(flat(batches[3:])))
    assert train_ids(fresh, buffer_records=12, first_step=3) == batches[3:]
    with pytest.raises(tf.errors.DataLossError):
        train_ids(fresh, buffer_records=12, first_step=2)


def test_training_records_of_other_ranks_are_not_read(fresh):
    own = train_ids(fresh, rank=1, world_size=3)
    damage_records(fresh, set(flat(own)))
    assert train_ids(fresh, rank=1, world_size=3) == own
    with pytest.raises(tf.errors.DataLossError):
        train_ids(fresh, rank=0, world_size=3)


def test_evaluation_records_of_other_ranks_are_not_read(fresh):
    own = eval_ids(fresh, 4, 1, 3)
    damage_records(fresh, set(own))
    assert eval_ids(fresh, 4, 1, 3) == own
    with pytest.raises(tf.errors.DataLossError):
        eval_ids(fresh, 4, 0, 3)


def eval_ids(data, batch_size, rank, world_size):
    seen = []
    replica = Replica(rank, rank, world_size)
    for batch in make_eval_dataset(data, "val", BANDS, batch_size=batch_size, replica=replica):
        assert batch["patch_id"].shape == (batch_size,)
        seen += batch["patch_id"].numpy()[batch["mask"].numpy() == 1].tolist()
    return seen


@pytest.mark.parametrize(("val", "compression"), [(1, ""), (4, ""), (4, "GZIP")])
def test_evaluation_reads_each_record_once(tmp_path, val, compression):
    data = write_data(tmp_path / "records", val=val, compression=compression)
    for batch_size, world_size in ((3, 1), (11, 2), (4, 3), (1, 13)):
        seen = [eval_ids(data, batch_size, rank, world_size) for rank in range(world_size)]
        assert sorted(flat(seen)) == [f"val_{number:03d}".encode() for number in range(11)]
        assert seen[-1] == eval_ids(data, batch_size, world_size - 1, world_size)
        assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_a_batch_contains_the_stored_values(data):
    for batch in make(data, batch=4, rank=1, world_size=2):
        assert set(batch["bands"]) == {"B01", "B09"}
        numbers = [int(patch_id[-3:]) for patch_id in batch["patch_id"].numpy()]
        for pixels in batch["bands"].values():
            assert (pixels.shape, pixels.dtype) == ((2, 20, 20), tf.uint16)
            assert [set(np.unique(patch)) for patch in pixels] == [{number} for number in numbers]
        assert (batch["labels"].shape, batch["labels"].dtype) == ((2, 3), tf.float32)
        assert np.argmax(batch["labels"], axis=1).tolist() == [number % 3 for number in numbers]
        assert batch["mask"].numpy().tolist() == [1.0, 1.0]


def test_int64_records_give_the_same_batches(tmp_path):
    data = write_data(tmp_path / "records")
    for shard in data.shards():
        path = str(data.shard_path(shard))
        ours = [record.numpy() for record in tf.data.TFRecordDataset(path)]
        with tf.io.TFRecordWriter(path) as writer:
            for record in ours:
                patch_id = tf.train.Example.FromString(record).features.feature["patch_id"].bytes_list.value[0].decode()
                pixels = {band.name: np.full((band.size_px,) * 2, int(patch_id[-3:]), np.uint16) for band in BANDS}
                writer.write(encode_int64_example(patch_id, [2], pixels, BANDS))
    manifest = dataclasses.replace(data.manifest, record_format="published_s2", class_names=CLASSES_19)
    batches = list(make(ShardedDataset(data.folder, manifest), first_step=2))
    assert len(batches) == 4
    for batch in batches:
        assert batch["bands"]["B09"][:, 3, 4].numpy().tolist() == [
            int(patch_id[-3:]) for patch_id in batch["patch_id"].numpy()
        ]


def test_impossible_batches_and_steps_are_refused(data):
    with pytest.raises(ValueError, match="not a multiple of the 3 ranks; choose 6"):
        steps_per_epoch(data.manifest, 8, Replica(0, 0, 3))
    with pytest.raises(ValueError, match="more than the 83 training records"):
        make(data, batch=84)
    with pytest.raises(ValueError, match="first_step=7: an epoch has 6 steps"):
        make(data, first_step=7)
    no_train = dataclasses.replace(data.manifest, shards=data.shards("val"))
    with pytest.raises(ValueError, match="No split 'train'"):
        make(ShardedDataset(data.folder, no_train))


def test_a_missing_shard_or_a_wrong_count_is_reported_before_the_first_batch(fresh):
    wrong = [dataclasses.replace(shard, num_records=shard.num_records + 1) for shard in fresh.shards()]
    disagreeing = ShardedDataset(fresh.folder, dataclasses.replace(fresh.manifest, shards=tuple(wrong)))
    with pytest.raises(ValueError, match=r"train-\d.tfrecord: contains 2\d records, the manifest says 2\d"):
        make(disagreeing)
    with pytest.raises(ValueError, match=r"val-0.tfrecord: contains 11 records, the manifest says 12"):
        make_eval_dataset(disagreeing, "val", BANDS, batch_size=4, replica=Replica())
    (fresh.folder / "train-2.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-2.tfrecord"):
        make(fresh)


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_wrong_count_of_a_compressed_shard_is_an_error_when_it_is_read(tmp_path, surplus):
    right = write_data(tmp_path / "records", compression="GZIP")
    wrong = [dataclasses.replace(shard, num_records=shard.num_records + surplus) for shard in right.shards()]
    data = ShardedDataset(right.folder, dataclasses.replace(right.manifest, shards=tuple(wrong)))
    with pytest.raises(tf.errors.FailedPreconditionError):
        train_ids(data, batch=79 if surplus < 0 else 87)
    with pytest.raises(tf.errors.FailedPreconditionError):
        eval_ids(data, 4, 0, 1)


def test_a_damaged_record_is_an_error(fresh):
    damage_records(fresh, {b"train_000"})
    with pytest.raises(tf.errors.DataLossError):
        train_ids(fresh)


def test_compressed_shards_give_the_same_records(tmp_path):
    data = write_data(tmp_path / "records")
    plain = eval_ids(data, 4, 0, 2)
    for shard in data.shards():
        data.shard_path(shard).write_bytes(gzip.compress(data.shard_path(shard).read_bytes()))
    compressed = ShardedDataset(data.folder, dataclasses.replace(data.manifest, compression="GZIP"))
    assert eval_ids(compressed, 4, 0, 2) == plain
