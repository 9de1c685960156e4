"""Int64 records are read in place like our own, and a folder with a fault is refused."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import S2, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.data.manifest import MANIFEST_NAME, read_manifest, write_manifest
from bigearth_tf.data.record_schema import encode_example
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_eval_dataset, make_train_dataset
from bigearth_tf.input.shuffle_order import EpochPosition
from tests.support import warm_python
from tests.support.archives import S2_NAMES, random_pixels
from tests.support.int64_records import KINDS, encode_patch, indices_19, write_int64_folder, write_shard
from tfrecord_tools.listing import int64_files
from tfrecord_tools.records import int64_manifest
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.records.int64_manifest import adopt_int64_records

LABELS = (["Pastures", "Airports"], ["Sea and ocean", "Estuaries"], ["Broad-leaved forest"], ["Airports"])
SPLITS = {"train": list(range(5)), "val": [5, 6, 7], "test": [8, 9]}


def labels_of(index):
    return LABELS[index % 4]


@pytest.fixture(scope="module")
def int64_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("int64")
    for kind in KINDS:
        write_int64_folder(root / kind, kind, SPLITS, labels_of)
    return root


@pytest.fixture
def folder(int64_folders, tmp_path):
    """An S2 folder to damage."""
    shutil.copytree(int64_folders / "s2", tmp_path / "s2")
    return tmp_path / "s2"


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_describes_the_folder(int64_folders, tmp_path, kind):
    folder = shutil.copytree(int64_folders / kind, tmp_path / kind)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = adopt_int64_records(folder)
    assert manifest == read_manifest(folder)
    assert (manifest.record_format, manifest.bands) == KINDS[kind]
    assert (manifest.dataset, manifest.class_names) == ("bigearthnet_v1", CLASSES_19)
    assert manifest.label_kind is LabelKind.MULTI
    assert {split: manifest.num_records(split) for split in manifest.splits} == {"train": 5, "val": 3, "test": 2}
    assert [shard.num_records for shard in manifest.split_shards("train")] == [3, 2]
    counts = dict(zip(CLASSES_19, manifest.class_counts("train")))
    assert {name: count for name, count in counts.items() if count} == {
        "Pastures": 2, "Marine waters": 1, "Broad-leaved forest": 1,
    }  # fmt: skip
    assert verify(ShardedDataset(folder, manifest)) == []
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: content for name, content in after.items() if name != MANIFEST_NAME} == before


@pytest.mark.parametrize("kind", KINDS)
def test_batches_equal_those_of_our_own_records(int64_folders, tmp_path, kind):
    theirs = shutil.copytree(int64_folders / kind, tmp_path / "theirs")
    manifest = adopt_int64_records(theirs)
    ours = tmp_path / "ours"
    ours.mkdir()
    for shard in manifest.split_shards("val"):
        number = int(shard.name[4:6])
        records = []
        for index in SPLITS["val"][number::2]:
            pixels = {band.name: random_pixels(band, index) for band in manifest.bands}
            records.append(encode_example(S2_NAMES[index], indices_19(labels_of(index)), pixels, manifest.bands))
        write_shard(ours / shard.name, records)
    own = dataclasses.replace(manifest, record_format="bigearth_tf")
    bands = get_bands(S2)
    for one, other in zip(
        make_eval_dataset(ShardedDataset(theirs, manifest), "val", bands, batch_size=2, replica=Replica()),
        make_eval_dataset(ShardedDataset(ours, own), "val", bands, batch_size=2, replica=Replica()),
    ):
        tf.nest.assert_same_structure(one, other)
        for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other)):
            assert (left.dtype, left.shape) == (right.dtype, right.shape)
            np.testing.assert_array_equal(left, right)


def test_adopted_records_can_be_trained_on(folder):
    data, position = ShardedDataset(folder, adopt_int64_records(folder)), EpochPosition(seed=1, epoch=0)
    batches = make_train_dataset(data, get_bands("RGB"), Replica(), position, global_batch_size=2, shuffle_mb=10)
    seen = [name.decode() for batch in batches for name in batch["patch_id"].numpy()]
    assert len(seen) == len(set(seen)) == 4
    assert set(seen) <= {S2_NAMES[index] for index in SPLITS["train"]}


def test_adopting_again_reads_nothing(folder, monkeypatch):
    manifest = adopt_int64_records(folder)
    monkeypatch.setattr(int64_manifest, "read_frames", None)
    monkeypatch.setattr(int64_files, "read_frames", None)
    assert adopt_int64_records(folder) == manifest


def test_the_command_reports_what_it_did(folder, repository):
    command = ["-m", "tfrecord_tools.adopt", f"--data_dir={folder}"]
    outputs = [warm_python.run(command, cwd=repository) for _ in range(2)]
    for output in outputs:
        assert output.returncode == 0, output.stderr
        assert "train: 5 records in 2 shards" in output.stdout
    assert outputs[0].stdout.endswith(f"wrote {folder / MANIFEST_NAME}\n")
    assert outputs[1].stdout.endswith("already existed; nothing was read again\n")


def test_a_shard_added_later_is_not_ignored(folder):
    adopt_int64_records(folder)
    write_shard(folder / "train_02.tfrecord", [encode_patch("s2", 20, LABELS[0])])
    with pytest.raises(ValueError, match=r"it lacks train_02\.tfrecord. Delete it, and adopt the folder again"):
        adopt_int64_records(folder)


def test_a_manifest_of_our_own_records_is_refused(folder):
    manifest = adopt_int64_records(folder)
    write_manifest(dataclasses.replace(manifest, record_format="bigearth_tf"), folder)
    with pytest.raises(ValueError, match="is not the manifest of the int64 records here"):
        adopt_int64_records(folder)


def test_every_spelling_of_a_split_is_read(int64_folders, tmp_path):
    folder = shutil.copytree(int64_folders / "s2", tmp_path / "s2")
    for number in range(2):
        (folder / f"val_{number:02d}.tfrecord").rename(folder / f"validation_{number}.tfrecord")
    (folder / ".hidden").touch()
    assert set(adopt_int64_records(folder).splits) == {"train", "val", "test"}


def refused(folder, match, error=ValueError):
    with pytest.raises(error, match=match):
        adopt_int64_records(folder)
    assert not (folder / MANIFEST_NAME).exists()


@pytest.mark.parametrize("name", ["dev_00.tfrecord", "train.tfrecord", "train_00.tfrecord.gz", "readme.txt"])
def test_an_unknown_name_is_an_error(folder, name):
    (folder / name).touch()
    refused(folder, f"{name}: not named like a shard of int64 records")


def test_a_missing_number_is_an_error(folder):
    (folder / "train_00.tfrecord").unlink()
    refused(folder, r"train_01\.tfrecord is there but train_00\.tfrecord is missing")


def test_a_missing_folder_and_a_folder_without_shards_are_errors(tmp_path):
    refused(tmp_path / "x", "no such folder", FileNotFoundError)
    refused(tmp_path, "contains no shard", FileNotFoundError)


@pytest.mark.parametrize("cut", [1, 5, 4000, 158_000])
def test_a_truncated_shard_names_the_record(folder, cut):
    path = folder / "train_00.tfrecord"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    refused(folder, r"train_00\.tfrecord: record 2 is damaged .*Copy this file again from its origin")


def test_a_truncated_header_is_found(folder):
    path = folder / "val_01.tfrecord"
    path.write_bytes(path.read_bytes() + b"1234567")
    refused(folder, r"val_01\.tfrecord: record 1 is damaged")


def test_an_empty_shard_is_an_error(folder):
    (folder / "val_01.tfrecord").write_bytes(b"")
    refused(folder, r"val_01\.tfrecord: contains no record")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_flipped_bit_names_the_record(folder, share):
    path = folder / "test_01.tfrecord"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 4
    path.write_bytes(content)
    refused(folder, r"test_01\.tfrecord: record 0 is damaged")


def change_record(path, position, change):
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    example = tf.train.Example.FromString(records[position])
    change(example.features.feature)
    records[position] = example.SerializeToString()
    write_shard(path, records)


CHANGES = {
    "features .'B05'. are missing": lambda f: f.pop("B05"),
    "band B01 has values .* 65536, outside": lambda f: f["B01"].int64_list.value.__setitem__(0, 65536),
    "band B12 has 3599 values": lambda f: f["B12"].int64_list.value.pop(),
    "another class order": lambda f: f["BigEarthNet-19_labels_multi_hot"].int64_list.value.reverse(),
}


@pytest.mark.parametrize("message", CHANGES)
def test_a_record_of_another_schema_is_named(folder, message):
    change_record(folder / "train_00.tfrecord", 1, CHANGES[message])
    refused(folder, rf"train_00\.tfrecord: record 1: .*{message}")


def test_the_first_record_must_have_an_int64_schema(folder):
    change_record(folder / "test_00.tfrecord", 0, lambda feature: feature.pop("patch_name"))
    refused(folder, r"test_00\.tfrecord: record 0: of neither int64 schema, .*published_s2 needs patch_name$")


def test_both_schemas_in_one_folder_are_an_error(folder):
    write_shard(folder / "train_02.tfrecord", [encode_patch("mm", 20, LABELS[0])])
    refused(folder, r"train_02\.tfrecord: record 0: features .*'patch_name'.* are missing")


def test_a_duplicate_patch_is_an_error(folder):
    write_shard(folder / "train_02.tfrecord", [encode_patch("s2", 8, LABELS[0])])
    refused(folder, rf"train_02\.tfrecord: record 0: patch {S2_NAMES[8]} is also in test_00\.tfrecord")


def test_a_folder_that_cannot_be_written_is_refused_before_reading(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(int64_manifest, "read_frames", None)
    refused(folder, "Fill a folder of yours with links", PermissionError)


def test_links_to_shards_elsewhere_can_be_adopted(int64_folders, tmp_path):
    for path in (int64_folders / "mm").iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert verify(ShardedDataset(tmp_path, adopt_int64_records(tmp_path))) == []


def test_verification_finds_a_change_after_adoption(folder):
    manifest = adopt_int64_records(folder)
    path = folder / "val_00.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [line for line in verify(ShardedDataset(folder, manifest)) if "val_00.tfrecord" in line]
