"""A folder of shards opened together with its manifest."""

import pytest

from bigearth_tf.data.manifest import manifest_digest, read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support.records import CLASS_NAMES, write_records


@pytest.fixture
def folder(tmp_path):
    write_records(tmp_path / "records", {"val": 1, "train": 4}, bands="B01,B09")
    return tmp_path / "records"


def test_an_opened_folder_has_the_facts_of_its_manifest(folder):
    dataset, manifest = ShardedDataset.open(str(folder)), read_manifest(folder)
    assert (dataset.folder, dataset.manifest) == (folder, manifest)
    assert (dataset.label_kind, dataset.class_names, dataset.num_classes) == (manifest.label_kind, CLASS_NAMES, 3)
    assert (dataset.num_records("train"), dataset.num_records("val")) == (4, 1)
    assert dataset.select_bands("B09") == manifest.select_bands("B09")
    assert dataset.digest() == manifest_digest(manifest)


def test_shards_are_those_of_a_split_or_all(folder):
    dataset = ShardedDataset.open(folder)
    assert dataset.shards() == dataset.manifest.shards
    assert [dataset.shard_path(shard) for shard in dataset.shards("train")] == sorted(folder.glob("train-*.tfrecord"))
    with pytest.raises(ValueError, match="No split 'test'.*val, train"):
        dataset.shards("test")


def test_a_folder_that_does_not_match_its_manifest_is_refused(folder):
    (folder / "val-00000-of-00002.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match="val-00000-of-00002.tfrecord: .*is missing"):
        ShardedDataset.open(folder)
    with pytest.raises(FileNotFoundError, match="there is no manifest"):
        ShardedDataset.open(folder.parent)
