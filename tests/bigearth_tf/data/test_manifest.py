"""Manifests: round trip, checks against the files, selection of bands."""

import dataclasses
import json

import pytest

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.manifest import MANIFEST_NAME, Manifest, Shard, read_manifest, write_manifest


def make_manifest(**changes):
    shards = (
        Shard("train-00001-of-00002.tfrecord", "train", 3, 4, "ab", (2, 1)),
        Shard("train-00000-of-00002.tfrecord", "train", 2, 4, "cd", (0, 1)),
        Shard("val-00000-of-00001.tfrecord", "val", 1, 4, "ef", (1, 1)),
    )
    fields = {
        "schema_version": 1,
        "dataset": "d",
        "source": "s",
        "licence": "l",
        "label_kind": "multi",
        "class_names": ("a", "ä"),
        "bands": get_bands("S2"),
        "attributes": ("country",),
        "compression": "",
        "record_format": "bigearth_tf",
        "shards": shards,
        "exclusions": {"snow": 3},
        "problems": ({"patch_id": "p"},),
        "options": {"x": [1]},
        "versions": {},
    }
    return Manifest(**{**fields, **changes})


@pytest.fixture
def folder(tmp_path):
    manifest = make_manifest()
    write_manifest(manifest, tmp_path)
    for shard in manifest.shards:
        (tmp_path / shard.name).write_bytes(b"1234")
    return tmp_path


def test_a_manifest_is_read_as_written(folder):
    manifest = read_manifest(folder)
    assert manifest == make_manifest()
    assert manifest.splits == ("train", "val")
    assert [shard.num_records for shard in manifest.split_shards("train")] == [2, 3]
    assert manifest.num_records("train") == 5
    assert manifest.class_counts("train") == (2, 2)


def test_no_temporary_file_is_left(folder):
    assert {path.suffix for path in folder.iterdir()} == {".json", ".tfrecord"}


def test_an_unknown_split_is_refused_with_the_existing_splits(folder):
    with pytest.raises(ValueError, match="No split 'test'.*train, val"):
        read_manifest(folder).split_shards("test")


def test_a_missing_manifest_or_shard_is_named(folder, tmp_path):
    (folder / "val-00000-of-00001.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match=r"val-00000-of-00001.tfrecord: .*is missing"):
        read_manifest(folder)
    with pytest.raises(FileNotFoundError, match="there is no manifest"):
        read_manifest(tmp_path / "elsewhere")


def test_a_shard_of_another_size_is_refused(folder):
    (folder / "val-00000-of-00001.tfrecord").write_bytes(b"123")
    with pytest.raises(ValueError, match="has 3 bytes, the manifest says 4"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(schema_version=2),
        lambda content: content.update(record_format="other"),
        lambda content: content.pop("class_names"),
        lambda content: content.update(more=1),
        lambda content: content["bands"][0].update(color="red"),
        lambda content: content["shards"][0].update(name="../x"),
        lambda content: content["shards"][0].pop("sha256"),
    ],
)
def test_a_manifest_of_another_form_is_refused(folder, change):
    content = json.loads((folder / MANIFEST_NAME).read_text())
    change(content)
    (folder / MANIFEST_NAME).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not a manifest that this version reads"):
        read_manifest(folder)


def test_a_truncated_manifest_is_refused(folder):
    path = folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="not a manifest"):
        read_manifest(folder)


def test_selected_bands_are_the_stored_rows():
    other = dataclasses.replace(BANDS["B02"], size_px=64)
    manifest = make_manifest(bands=(BANDS["B03"], other, BANDS["B04"]))
    assert manifest.select_bands("RGB") == (BANDS["B04"], BANDS["B03"], other)
    with pytest.raises(ValueError, match="Unknown band 'VV'.*allowed are the bands B03, B02, B04"):
        manifest.select_bands("VV")


def test_bands_without_statistics_cannot_be_standardized():
    manifest = make_manifest(bands=(dataclasses.replace(BANDS["B02"], mean=None, std=None),))
    with pytest.raises(ValueError, match="Band B02 of d has no mean.*band_stats --write"):
        manifest.select_bands("B02")


def test_a_constant_band_cannot_be_standardized():
    manifest = make_manifest(bands=(dataclasses.replace(BANDS["B02"], std=0.0), BANDS["B03"]))
    with pytest.raises(ValueError, match=r"Band B02 of d is constant \(its standard deviation is 0\).*Name the other"):
        manifest.select_bands("B02,B03")
    assert manifest.select_bands("B03") == (BANDS["B03"],)


def test_the_summary_lists_splits_exclusions_and_problems():
    text = make_manifest().summary()
    assert text.splitlines() == [
        "train: 5 records in 2 shards", "val: 1 records in 1 shards", "left out, snow: 3", "broken and tolerated: 1",
    ]  # fmt: skip
