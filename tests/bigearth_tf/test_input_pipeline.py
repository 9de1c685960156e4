"""Does every rank read its own part, each record at most once, in an order that seed and epoch decide?"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from records import write_records

from bigearth_tf.bands import get_bands
from bigearth_tf.distributed import Replica
from bigearth_tf.input_pipeline import make_eval_dataset, make_train_dataset, steps_per_epoch

BANDS = get_bands("RGB")
COUNT = 47


@pytest.fixture(scope="module", params=[1, 4, 6])
def data(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    return folder, write_records(folder, {"train": COUNT, "val": 11}, num_shards=request.param)


def train_ids(data, *, batch=8, world_size=1, seed=1, epoch=0):
    """Returns the patch ids of each rank, batch by batch."""
    folder, manifest = data
    ranks = []
    for rank in range(world_size):
        dataset = make_train_dataset(
            folder,
            manifest,
            BANDS,
            global_batch_size=batch,
            replica=Replica(rank, rank, world_size),
            seed=seed,
            epoch=epoch,
            shuffle_mb=0.1 * COUNT,
        )
        ranks.append([batch["patch_id"].numpy().tolist() for batch in dataset])
    return ranks


def flat(nested):
    return list(itertools.chain.from_iterable(nested))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_take_equal_steps_over_records_of_their_own(data, world_size):
    ranks = train_ids(data, batch=world_size * 2, world_size=world_size)
    steps = steps_per_epoch(data[1], world_size * 2, Replica(0, 0, world_size))
    assert [len(batches) for batches in ranks] == [steps] * world_size
    seen = flat(flat(ranks))
    assert len(seen) == len(set(seen)) == steps * world_size * 2
    assert COUNT - len(seen) < 2 * world_size + 2 * world_size


def test_order_follows_from_seed_and_epoch(data):
    assert train_ids(data) == train_ids(data)
    assert train_ids(data) != train_ids(data, epoch=1)
    assert train_ids(data) != train_ids(data, seed=2)
    assert set(flat(train_ids(data)[0])) <= {f"train_{number:03d}".encode() for number in range(COUNT)}


def test_records_are_shuffled(data):
    order = [int(patch_id[-3:]) for patch_id in flat(train_ids(data)[0])]
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.5


def test_a_batch_is_as_stored(data):
    folder, manifest = data
    batch = next(iter(make_eval_dataset(folder, manifest, "val", BANDS, batch_size=4, replica=Replica())))
    assert set(batch["bands"]) == {"B04", "B03", "B02"}
    assert {(*pixels.shape, pixels.dtype.name) for pixels in batch["bands"].values()} == {(4, 120, 120, "uint16")}
    assert (batch["labels"].shape, batch["labels"].dtype) == ((4, 3), tf.float32)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [3, 4, 11, 32])
def test_evaluation_sees_each_record_exactly_once(data, world_size, batch_size):
    folder, manifest = data
    seen = []
    for rank in range(world_size):
        replica = Replica(rank, rank, world_size)
        for batch in make_eval_dataset(folder, manifest, "val", BANDS, batch_size=batch_size, replica=replica):
            assert batch["patch_id"].shape == (batch_size,)
            seen += batch["patch_id"].numpy()[batch["mask"].numpy() == 1].tolist()
    assert sorted(seen) == [f"val_{number:03d}".encode() for number in range(11)]


def test_batches_that_cannot_be_are_refused(data):
    with pytest.raises(ValueError, match="no multiple of the 3 ranks; choose 6"):
        steps_per_epoch(data[1], 8, Replica(0, 0, 3))
    with pytest.raises(ValueError, match="more than the 47 training records"):
        steps_per_epoch(data[1], 48, Replica())


def test_a_damaged_record_is_an_error(tmp_path):
    manifest = write_records(tmp_path / "records", {"val": 4}, num_shards=1)
    path = tmp_path / "records" / manifest.shards[0].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(make_eval_dataset(tmp_path / "records", manifest, "val", BANDS, batch_size=4, replica=Replica()))
