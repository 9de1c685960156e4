"""Int64 records are rewritten to the same bytes as their GeoTIFFs."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.data.record_schema import parse_examples
from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support import warm_python
from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels, write_lists, write_pair
from tests.support.int64_records import KINDS, encode_patch, indices_19, write_int64_folder, write_shard
from tests.support.paths import REPOSITORY
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.records.int64_manifest import adopt_int64_records
from tfrecord_tools.source import PatchError, SourceInputs
from tfrecord_tools.sources import open_source

LABELS = (["Pastures", "Airports"], ["Sea and ocean", "Estuaries"], ["Broad-leaved forest", "Natural grassland"])
SPLITS = {"train": list(range(5)), "val": [5, 6], "test": [7]}


def labels_of(index):
    return LABELS[index % 3]


def open_int64(folder):
    return open_source("int64_tfrecords", SourceInputs(input=str(folder)))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The same patches as int64 records of each kind, and as GeoTIFFs whose country and season are unknown."""
    root = tmp_path_factory.mktemp("root")
    for kind in KINDS:
        write_int64_folder(root / "int64" / kind, kind, SPLITS, labels_of, num_shards=1)
    for index in range(8):
        write_pair(root, index, labels_of(index), lambda band, seed=index: random_pixels(band, seed))
    lists = write_lists(root / "lists", SPLITS)
    rows = "".join(f"{s1},{s2},,\n" for s1, s2 in zip(S1_NAMES, S2_NAMES))
    (lists / "s1_s2_name_country_season.csv").write_text("s1_name,s2_name,country,season\n" + rows)
    return root


@pytest.mark.parametrize(("kind", "sensors"), [("s2", ("s2",)), ("mm_with_60_m", ("s2", "s1"))])
def test_shards_equal_those_of_the_geotiffs(root, tmp_path, kind, sensors):
    options = ConversionOptions(num_shards=2)
    manifest = convert(open_int64(root / "int64" / kind), tmp_path / "theirs", options)
    inputs = SourceInputs(lists_dir=str(root / "lists"), **{sensor: str(root / sensor) for sensor in sensors})
    expected = convert(open_source("bigearthnet_v1", inputs), tmp_path / "ours", options)
    assert contents(tmp_path / "theirs") == contents(tmp_path / "ours")
    assert manifest.shards == expected.shards
    assert (manifest.dataset, manifest.bands, manifest.class_names, manifest.record_format) == (
        expected.dataset, expected.bands, expected.class_names, "bigearth_tf",
    )  # fmt: skip
    assert "TFRecords of the schema published_" in manifest.source
    assert verify(ShardedDataset(tmp_path / "theirs", manifest)) == []


def test_records_without_the_60_m_bands_keep_their_bands(root, tmp_path):
    bands = KINDS["mm"][1]
    manifest = convert(open_int64(root / "int64" / "mm"), tmp_path / "out", ConversionOptions(num_shards=1))
    assert manifest.bands == bands
    found = set()
    for path in (tmp_path / "out").glob("*.tfrecord"):
        batch = parse_examples(tf.constant(list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())), bands, 19)
        for row, name in enumerate(batch["patch_id"].numpy()):
            index = S2_NAMES.index(name.decode())
            assert index in SPLITS[path.name.split("-")[0]]
            for band in bands:
                np.testing.assert_array_equal(batch["bands"][band.name][row], random_pixels(band, index))
            assert np.flatnonzero(batch["labels"][row]).tolist() == indices_19(labels_of(index))
            found.add(index)
    assert found == set(range(8))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_an_adopted_folder_is_rewritten_to_the_same_bytes(root, tmp_path, workers):
    folder = shutil.copytree(root / "int64" / "s2", tmp_path / "s2")
    convert(open_int64(folder), tmp_path / "one", ConversionOptions(num_shards=2))
    adopt_int64_records(folder)
    convert(open_int64(folder), tmp_path / "two", ConversionOptions(num_shards=2, workers=workers))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_duplicate_patch_is_an_error(root, tmp_path):
    folder = shutil.copytree(root / "int64" / "s2", tmp_path / "s2")
    write_shard(folder / "val_01.tfrecord", [encode_patch("s2", 9, LABELS[0]), encode_patch("s2", 1, LABELS[1])])
    match = rf"val_01\.tfrecord:record 1: patch {S2_NAMES[1]} is also .*train_00\.tfrecord:record 1"
    with pytest.raises(ValueError, match=match):
        open_int64(folder)


@pytest.mark.parametrize("damage", ["cut", "bit"])
def test_a_damaged_file_is_reported_before_anything_is_written(root, tmp_path, damage):
    folder = shutil.copytree(root / "int64" / "s2", tmp_path / "s2")
    path = folder / "train_00.tfrecord"
    content = bytearray(path.read_bytes())
    content[-5000] ^= 1
    path.write_bytes(content[:-5] if damage == "cut" else content)
    with pytest.raises(ValueError, match=r"train_00\.tfrecord: record 4 is damaged"):
        open_int64(folder)


def test_bytes_that_are_not_a_record_are_reported(root, tmp_path):
    folder = shutil.copytree(root / "int64" / "s2", tmp_path / "s2")
    write_shard(folder / "val_01.tfrecord", [b"\xff\xff"])
    with pytest.raises(ValueError, match=r"val_01\.tfrecord:record 0: not a tf.train.Example"):
        open_int64(folder)


def test_a_record_of_another_schema_is_a_broken_patch(root, tmp_path):
    folder = shutil.copytree(root / "int64" / "s2", tmp_path / "s2")
    example = tf.train.Example.FromString(encode_patch("s2", 9, LABELS[0]))
    example.features.feature["B02"].int64_list.value[3] = 70000
    write_shard(folder / "val_01.tfrecord", [example.SerializeToString()])
    source = open_int64(folder)
    with pytest.raises(ValueError, match=r"1 of \d+ patches is broken.*val_01\.tfrecord:record 0: band B02 has values"):
        convert(source, tmp_path / "out", ConversionOptions(num_shards=1))
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()
    manifest = convert(source, tmp_path / "out", ConversionOptions(num_shards=1, allow_problems=1))
    assert [problem["patch_id"] for problem in manifest.problems] == [S2_NAMES[9]]
    assert manifest.num_records("val") == 2


def test_a_file_that_changed_or_disappeared_after_listing_is_reported(root, tmp_path):
    folder = shutil.copytree(root / "int64" / "s2", tmp_path / "s2")
    source = open_int64(folder)
    refs = {ref.patch_id: ref for ref in source.refs}
    path = folder / "val_00.tfrecord"
    write_shard(path, [encode_patch("s2", 20, LABELS[0])] * 2)
    with pytest.raises(PatchError, match=rf"val_00\.tfrecord:record \d: .*expected patch {S2_NAMES[6]}"):
        source.read(refs[S2_NAMES[6]])
    path.unlink()
    with pytest.raises(PatchError, match="the file is missing"):
        source.read(refs[S2_NAMES[5]])


def test_inputs_of_other_sources_are_refused():
    with pytest.raises(ValueError, match="--source=int64_tfrecords takes --input; missing: --input; not taken: --s2"):
        open_source("int64_tfrecords", SourceInputs(s2="x"))


def test_the_former_name_opens_the_same_source(root):
    folder = root / "int64" / "s2"
    former, now = open_source("published_tfrecords", SourceInputs(input=str(folder))), open_int64(folder)
    assert (former.refs, former.origin, former.options) == (now.refs, now.origin, now.options)


def test_the_command_takes_the_former_name_and_does_not_list_it(root, tmp_path):
    command = ["-m", "tfrecord_tools.convert", f"--input={root / 'int64' / 's2'}", "--num_shards=1", "--workers=1"]
    for name, source in (("old", "published_tfrecords"), ("new", "int64_tfrecords")):
        output = ["--source=" + source, f"--output_dir={tmp_path / name}"]
        result = warm_python.run([*command, *output], cwd=REPOSITORY)
        assert result.returncode == 0, result.stderr
    manifests = [(tmp_path / name / MANIFEST_NAME).read_bytes() for name in ("old", "new")]
    assert manifests[0] == manifests[1]
    verify_command = ["-m", "tfrecord_tools.verify", f"--data_dir={tmp_path / 'old'}", *command[2:3]]
    result = warm_python.run([*verify_command, "--source=int64_tfrecords", "--workers=1"], cwd=REPOSITORY)
    assert result.stdout.startswith("PASS") and "compared with the source" in result.stdout, result.stderr
    shown = warm_python.run([*command[:2], "--help"], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES).stdout
    assert "int64_tfrecords" in shown and "published_tfrecords" not in shown
    wrong = warm_python.run([*command, "--source=nowhere"], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES)
    assert "value should be one of <bigearthnet_v1|" in wrong.stderr
