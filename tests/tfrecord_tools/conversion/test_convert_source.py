"""Conversion: bytes do not depend on how it runs, it resumes, and mixes no data sets; verify finds every fault."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.labels import CLASSES_19, CLASSES_43
from bigearth_tf.data.manifest import MANIFEST_NAME, read_manifest
from bigearth_tf.data.record_schema import parse_examples
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.files import file_sha256
from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels, write_lists, write_pair
from tests.support.files import contents
from tfrecord_tools.conversion import shards
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

LABELS = (["Pastures", "Airports"], ["Sea and ocean"], ["Broad-leaved forest", "Natural grassland"])
SPLITS = {"train": list(range(8)), "val": [8, 9], "test": [10, 11]}


def pixels_of(index):
    return lambda band: random_pixels(band, index)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    for index in range(12):
        write_pair(root, index, LABELS[index % 3], pixels_of(index))
    write_lists(root / "lists", SPLITS, {"snow": [5]})
    return root


def run(archive, output_dir, s1=True, s2=True, nomenclature="19", exclude=None, **options):
    inputs = SourceInputs(
        s2=str(archive / "s2") if s2 else None,
        s1=str(archive / "s1") if s1 else None,
        lists_dir=str(archive / "lists"),
        nomenclature=nomenclature,
        exclude=exclude,
    )
    options = ConversionOptions(**{"num_shards": 3, **options})
    return convert(open_source("bigearthnet_v1", inputs), output_dir, options)


@pytest.fixture(scope="module")
def records(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "mm"
    run(archive, folder)
    return folder


def read(folder, manifest, split, bands):
    paths = [str(folder / shard.name) for shard in manifest.split_shards(split)]
    serialized = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    return parse_examples(tf.constant(serialized), bands, len(manifest.class_names))


def test_every_pixel_and_label_arrives(archive, records):
    manifest = read_manifest(records)
    assert manifest.bands == get_bands(BANDS)
    assert manifest.class_names == CLASSES_19
    found = set()
    for split, indices in SPLITS.items():
        batch = read(records, manifest, split, get_bands(BANDS))
        names = [patch_id.decode() for patch_id in batch["patch_id"].numpy()]
        assert set(names) == {S2_NAMES[index] for index in indices if index != 5}
        for row, name in enumerate(names):
            index = S2_NAMES.index(name)
            for band in BANDS.values():
                np.testing.assert_array_equal(batch["bands"][band.name][row], random_pixels(band, index))
            expected = ({"Pastures"}, {"Marine waters"}, {"Broad-leaved forest", CLASSES_19[11]})[index % 3]
            assert {CLASSES_19[i] for i in np.flatnonzero(batch["labels"][row])} == expected
            found.add(index)
    assert found == set(range(12)) - {5}
    assert manifest.exclusions == {"snow": 1}
    assert manifest.class_counts("train")[CLASSES_19.index("Pastures")] == 3


def test_a_conversion_to_43_classes_keeps_their_labels(archive, tmp_path):
    manifest = run(archive, tmp_path / "out", nomenclature="43")
    assert manifest.class_names == CLASSES_43
    assert manifest.class_counts("train")[CLASSES_43.index("Airports")] == 3
    assert manifest.class_counts("train")[CLASSES_43.index("Natural grassland")] == 1  # Patch 5 is snowy.


@pytest.mark.parametrize("sensor", ["s1", "s2"])
def test_a_conversion_of_one_sensor_has_only_its_bands(archive, tmp_path, sensor):
    manifest = run(archive, tmp_path / "out", **{{"s1": "s2", "s2": "s1"}[sensor]: False})
    assert {band.sensor for band in manifest.bands} == {sensor.upper()}
    assert not verify(ShardedDataset(tmp_path / "out", manifest))


def test_bytes_do_not_depend_on_workers_or_on_the_place_of_the_source(archive, records, tmp_path):
    moved = shutil.copytree(archive, tmp_path / "moved")
    run(moved, tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(records)


def test_an_interrupted_conversion_resumes_to_the_same_bytes(archive, records, tmp_path, monkeypatch):
    written, write = [], shards.write_json_atomically

    def killed_at_the_third(path, content):
        written.append(path.name)
        if len(written) == 3:  # The plan is not counted: another module writes it.
            raise KeyboardInterrupt
        write(path, content)

    # Killed after a shard was renamed and before its note was written: the worst moment.
    monkeypatch.setattr(shards, "write_json_atomically", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(archive, tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()
    (tmp_path / "out" / shards.WORK_DIR / "train-00001-of-00003.tfrecord.99.tmp").write_bytes(b"half")
    run(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(records)


def test_a_conversion_killed_before_its_first_or_after_its_last_write_resumes(archive, records, tmp_path):
    (tmp_path / "out" / shards.WORK_DIR).mkdir(parents=True)
    run(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(records)
    (tmp_path / "out" / shards.WORK_DIR).mkdir()
    run(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(records)


def test_a_finished_conversion_is_not_done_again(archive, records):
    before = {path.name: path.stat().st_mtime_ns for path in records.iterdir()}
    run(archive, records)
    assert {path.name: path.stat().st_mtime_ns for path in records.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"nomenclature": "43"}, "nomenclature: 19 there, 43 here"),
        ({"s1": False}, "bands"),
        ({"num_shards": 2}, r"\(train: 3 shards there, 2 here\)"),
        ({"exclude": ("cloud",)}, "exclude"),
        ({"compression": "GZIP"}, "compression"),
    ],
)
def test_a_folder_with_another_data_set_is_refused(archive, records, options, named):
    before = contents(records)
    with pytest.raises(ValueError, match=f"contains another data set.*{named}.*--output_dir"):
        run(archive, records, **options)
    assert contents(records) == before


def test_a_folder_with_other_files_is_refused(archive, tmp_path):
    names = ["a.bib", "b.tex", "c.tex", "d.tex", ".DS_Store"]
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="contains other files, a.bib, b.tex, c.tex and 1 more. Name a new or empty"):
        run(archive, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_files_that_a_system_leaves_are_nobodys(archive, records, tmp_path):
    for name in (".DS_Store", ".nfs000012"):
        (tmp_path / name).touch()
    manifest = run(archive, tmp_path)
    assert {name for name in contents(tmp_path) if name[0] != "."} == set(contents(records))
    assert verify(ShardedDataset(tmp_path, manifest)) == []


def test_a_changed_source_is_named_without_its_digest(archive, tmp_path):
    write_lists(tmp_path / "lists", {**SPLITS, "val": [8, 4]}, {"snow": [5]})
    run(archive, tmp_path / "out")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("s1", "s2"):
        (moved / name).symlink_to(archive / name)
    (tmp_path / "lists" / "train.csv").write_text("".join(f"{S2_NAMES[index]}\n" for index in SPLITS["train"][:4]))
    shutil.copytree(tmp_path / "lists", moved / "lists")
    with pytest.raises(ValueError, match="have other patches: the source or its lists have changed") as raised:
        run(moved, tmp_path / "out")
    assert "sha256" not in str(raised.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("shard_mb", float("inf")), ("shard_mb", float("nan")), ("shard_mb", 0), ("shard_mb", -3), ("num_shards", 0),
     ("num_tasks", 0), ("num_tasks", -3)],
)  # fmt: skip
def test_a_number_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=f"--{option}={value}: expected"):
        ConversionOptions(**{option: value})


def test_a_source_without_a_patch_is_refused(archive, tmp_path):
    write_lists(tmp_path / "lists", {"train": [5]}, {"snow": [5]})
    for name in ("s1", "s2"):
        (tmp_path / name).symlink_to(archive / name)
    with pytest.raises(ValueError, match=r"no patch is left to convert \(left out: .*snow: 1"):
        run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_of_broken_patches_is_refused_also_when_they_are_tolerated(archive, tmp_path):
    broken = shutil.copytree(archive, tmp_path / "broken")
    for index in SPLITS["val"]:
        shutil.rmtree(broken / "s1" / S1_NAMES[index])
        (broken / "s1" / S1_NAMES[index]).mkdir()
    with pytest.raises(ValueError, match="all patches of the split val are broken"):
        run(broken, tmp_path / "out", allow_problems=9)
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_broken_patches_without_any_other_are_not_said_to_be_converted_but_for_them(archive, tmp_path):
    write_pair(tmp_path, 0, ["Pastures"])
    write_lists(tmp_path / "lists", {"train": [0]})
    (tmp_path / "s2" / S2_NAMES[0] / f"{S2_NAMES[0]}_B02.tif").unlink()
    with pytest.raises(
        ValueError, match=r"1 of 1 patches is broken.*None is converted: fix these and run the same"
    ) as raised:
        run(tmp_path, tmp_path / "out")
    assert "--allow_problems" not in str(raised.value)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_broken_patch_prevents_the_manifest_until_it_is_fixed(archive, records, tmp_path, workers):
    broken = shutil.copytree(archive, tmp_path / "broken")
    band = broken / "s2" / S2_NAMES[3] / f"{S2_NAMES[3]}_B11.tif"
    whole = band.read_bytes()
    band.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="1 of 11 patches is broken, 0 are allowed.*B11.tif.*--allow_problems=1"):
        run(broken, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()
    band.write_bytes(whole)
    run(broken, tmp_path / "out", workers=workers)
    assert contents(tmp_path / "out") == contents(records)


def test_shards_of_a_split_are_nearly_equal_shuffled_and_of_the_requested_size():
    refs = [PatchRef(f"patch_{index}", "train", ()) for index in range(1000)]
    plans = shards.plan_shards(refs, record_bytes=100_000, shard_mb=20)
    assert [len(plan.refs) for plan in plans] == [200] * 5
    assert plans[0].name == "train-00000-of-00005.tfrecord"
    numbers = [int(ref.patch_id.split("_")[1]) for plan in plans for ref in plan.refs]
    assert sorted(numbers) == list(range(1000))
    # A shard is a sample of all records, whatever the order of the source.
    assert all(400 < np.mean(numbers[start : start + 200]) < 600 for start in range(0, 1000, 200))
    assert shards.plan_shards(refs[::-1], 100_000, 20) == plans


def test_a_split_with_fewer_records_than_shards_gets_one_shard_per_record():
    refs = [PatchRef(name, "val", ()) for name in "ab"]
    assert [len(plan.refs) for plan in shards.plan_shards(refs, 1, 1, 64)] == [1, 1]


# Faults that verify must find: a change to a copy of the data set, and the message.


def flip_byte(folder, position):
    path = folder / "train-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def edit_manifest(folder, change):
    path = folder / MANIFEST_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rehash(folder):
    """Writes the present sizes and checksums of the shards into the manifest, so that later checks are reached."""

    def change(content):
        for row in content["shards"]:
            row["sha256"] = file_sha256(folder / row["name"])
            row["num_bytes"] = (folder / row["name"]).stat().st_size

    edit_manifest(folder, change)


def duplicate_shard(folder):
    shutil.copy(folder / "train-00000-of-00003.tfrecord", folder / "train-00001-of-00003.tfrecord")
    rehash(folder)


FAULTS = {
    "a flipped bit": (lambda f: flip_byte(f, 5000), "SHA-256 differs"),
    "a flipped bit, rehashed": (lambda f: (flip_byte(f, 5000), rehash(f)), "damaged after record -1"),
    "a shard more": (lambda f: (f / "train-00003-of-00003.tfrecord").touch(), "not in the manifest"),
    "a shard twice": (duplicate_shard, "is also in train-00000-of-00003.tfrecord"),
    "another count": (
        lambda f: edit_manifest(f, lambda content: content["shards"][0].update(num_records=5)),
        "records, the manifest says 5",
    ),
    "other class counts": (
        lambda f: edit_manifest(f, lambda content: content["shards"][0]["class_counts"].reverse()),
        "per class differ",
    ),
    "fewer classes": (
        lambda f: edit_manifest(f, lambda content: content.update(class_names=content["class_names"][:18])),
        "labels .* are not ascending indices below 18",
    ),
    "fewer bands": (
        lambda f: edit_manifest(f, lambda content: content["bands"].pop()),
        "features .'VH'. are missing or unexpected",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_verify_finds_a_fault(records, tmp_path, kind):
    folder = shutil.copytree(records, tmp_path / "copy")
    assert verify(ShardedDataset.open(folder)) == []
    damage, message = FAULTS[kind]
    damage(folder)
    problems = verify(ShardedDataset.open(folder))
    assert problems
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("\n".join(problems))
