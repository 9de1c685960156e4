"""BigEarthNet v1.0: patches are read bit by bit and counted, and a broken file gives a helpful message."""

import json
import shutil

import numpy as np
import pytest

from bigearth_tf.data.bands import BANDS, get_bands
from tests.support.archives import (
    S1_NAMES,
    S2_NAMES,
    constant_pixels,
    folder_of,
    random_pixels,
    write_lists,
    write_pair,
    write_patch,
)
from tfrecord_tools.listing.patch_lists import official_lists_folder, read_patch_lists
from tfrecord_tools.raster.geotiff import write_band
from tfrecord_tools.source import PatchError, SourceInputs
from tfrecord_tools.sources import open_source
from tfrecord_tools.sources.bigearthnet_v1 import find_patches, list_patches, read_patch

REASONS = ("snow", "cloud", "no_label")


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path, 0, ["Pastures", "Sea and ocean"])


def test_a_pair_is_read_bit_by_bit_in_native_sizes_and_types(tmp_path):
    folders = write_pair(tmp_path, 0, ["Pastures"], lambda band: random_pixels(band, 3))
    patch = read_patch(*map(folder_of, folders))
    assert (patch.patch_id, patch.labels) == (S2_NAMES[0], ("Pastures",))
    assert set(patch.bands) == set(BANDS)
    for name, pixels in patch.bands.items():
        assert pixels.dtype == BANDS[name].dtype
        np.testing.assert_array_equal(pixels, random_pixels(BANDS[name], 3))


def test_no_band_is_swapped(pair):
    for name, pixels in read_patch(*map(folder_of, pair)).bands.items():
        np.testing.assert_array_equal(pixels, constant_pixels(BANDS[name]))


def json_file(folder):
    return folder / f"{folder.name}_labels_metadata.json"


def tif(folder, band):
    return folder / f"{folder.name}_{band}.tif"


def rewrite(path, pixels):
    path.unlink()
    write_band(path, pixels, "", (0, 10, 0, 0, 0, -10))


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


DAMAGE = {
    "band missing": (lambda s2, _: tif(s2, "B8A").unlink(), "B8A.tif: the file is missing"),
    "band of another size": (
        lambda s2, _: shutil.copy(tif(s2, "B05"), tif(s2, "B02")),
        r"B02.tif: has 1 band\(s\) of 60 x 60 px, uint16; expected band B02 as 1 band\(s\) of 120 x 120 px",
    ),
    "band of another type": (
        lambda s2, _: rewrite(tif(s2, "B02"), np.zeros((120, 120), np.float32)),
        "B02.tif: has .*float32; expected .*uint16",
    ),
    "truncated in the header": (lambda s2, _: truncate(tif(s2, "B03"), 6), "B03.tif: cannot be read"),
    "truncated in the directory": (lambda s2, _: truncate(tif(s2, "B03"), 100), "B03.tif: cannot be read"),
    "truncated in the pixels": (lambda s2, _: truncate(tif(s2, "B03"), 20000), "B03.tif: cannot be read"),
    "empty": (lambda s2, _: truncate(tif(s2, "B03"), 0), "B03.tif: cannot be read"),
    "no GeoTIFF": (lambda s2, _: tif(s2, "B03").write_text("hello" * 9), "B03.tif: cannot be read"),
    "a folder for a band": (
        lambda s2, _: (tif(s2, "B03").unlink(), tif(s2, "B03").mkdir()),
        "B03.tif: the file is missing",
    ),
    "json missing": (lambda s2, _: json_file(s2).unlink(), "json: the file is missing"),
    "json cut short": (lambda s2, _: truncate(json_file(s2), 30), "json: cannot be read"),
    "json of other bytes": (lambda s2, _: json_file(s2).write_bytes(b"\xff\xfe\x00"), "json: cannot be read"),
    "json deeply nested": (lambda s2, _: json_file(s2).write_text("[" * 99999), "json: cannot be read"),
    "key given twice": (
        lambda s2, _: json_file(s2).write_text('{"labels": ["Pastures"], "labels": ["Vineyards"]}'),
        "a key is given twice",
    ),
    "no labels": (lambda s2, _: json_file(s2).write_text("{}"), "has no list of labels"),
    "labels no list": (lambda s2, _: json_file(s2).write_text('{"labels": "Pastures"}'), "has no list of labels"),
    "empty labels": (lambda s2, _: json_file(s2).write_text('{"labels": []}'), "has no list of labels"),
    "unknown label": (
        lambda s2, _: json_file(s2).write_text('{"labels": ["Arable land"]}'),
        "'Arable land' is unknown",
    ),
    "label twice": (lambda s2, _: json_file(s2).write_text('{"labels": ["Pastures", "Pastures"]}'), "given twice"),
    "counterpart of another": (
        lambda _, s1: json_file(s1).write_text(
            json.dumps({"labels": ["Pastures", "Sea and ocean"], "corresponding_s2_patch": S2_NAMES[9]})
        ),
        f"not the counterpart of {S2_NAMES[0]}: it names {S2_NAMES[9]}",
    ),
    "counterpart with other labels": (
        lambda _, s1: json_file(s1).write_text(
            json.dumps({"labels": ["Pastures"], "corresponding_s2_patch": S2_NAMES[0]})
        ),
        "its labels differ",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_message_names_the_file_the_expectation_and_the_fix(pair, kind):
    damage, message = DAMAGE[kind]
    damage(*pair)
    with pytest.raises(PatchError, match=message) as caught:
        read_patch(*map(folder_of, pair))
    assert "; expected " in str(caught.value)
    assert "Extract this patch from the archive again" in str(caught.value)
    assert caught.value.file.startswith(str(pair[0].parent.parent))


def test_a_folder_that_is_not_a_patch_is_refused(tmp_path):
    with pytest.raises(PatchError, match="not named like a patch"):
        read_patch(folder_of(tmp_path))
    with pytest.raises(PatchError, match="is not a folder"):
        read_patch(folder_of(tmp_path / S2_NAMES[0]))


@pytest.fixture
def archive(tmp_path):
    for index in range(6):
        write_pair(tmp_path, index, ["Pastures"])
    lists = write_lists(
        tmp_path / "lists",
        {"train": [0, 1], "val": [2], "test": [3]},
        {"snow": [1, 4], "cloud": [4]},
    )
    return tmp_path, read_patch_lists(lists)


def ids(refs):
    return [(ref.patch_id, ref.split) for ref in refs]


def test_patches_are_listed_by_split_and_what_is_left_out_is_counted(archive):
    root, lists = archive
    (root / "s2" / "README").touch()
    refs, left_out = list_patches(str(root / "s2"), None, lists, REASONS)
    assert ids(refs) == [(S2_NAMES[0], "train"), (S2_NAMES[2], "val"), (S2_NAMES[3], "test")]
    # Patch 1 is listed and snowy, 4 is snowy and cloudy (counted once), 5 is on no list at all.
    assert left_out == {"snow": 2, "on no split list": 1}


def test_exclusion_can_be_switched_off(archive):
    root, lists = archive
    refs, left_out = list_patches(str(root / "s2"), None, lists, ["cloud"])
    assert (S2_NAMES[1], "train") in ids(refs)
    assert left_out == {"cloud": 1, "on no split list": 1}


def test_sentinel_1_is_listed_alone_and_in_pairs(archive):
    root, lists = archive
    refs, left_out = list_patches(None, str(root / "s1"), lists, REASONS)
    assert ids(refs)[0] == (S1_NAMES[0], "train")
    assert left_out == {"snow": 2, "on no split list": 1}
    pairs, _ = list_patches(str(root / "s2"), str(root / "s1"), lists, REASONS)
    assert pairs[1].parts == (folder_of(root / "s2" / S2_NAMES[2]), folder_of(root / "s1" / S1_NAMES[2]))
    assert pairs[1].attributes == (("country", "Austria"), ("season", "Summer"))


def test_a_missing_patch_is_an_error_unless_the_archive_is_partial(archive):
    root, lists = archive
    shutil.rmtree(root / "s1" / S1_NAMES[2])
    folders = (str(root / "s2"), str(root / "s1"))
    with pytest.raises(FileNotFoundError, match=f"1 of 3 listed patches.*{S2_NAMES[2]}.*{S1_NAMES[2]}.*--partial"):
        list_patches(*folders, lists, REASONS)
    refs, left_out = list_patches(*folders, lists, REASONS, partial_archive=True)
    assert len(refs) == 2
    assert left_out["without S1"] == 1


def test_patches_may_lie_deeper_and_no_patches_are_an_error(archive, tmp_path):
    root, lists = archive
    assert len(list_patches(str(root), str(root), lists, REASONS)[0]) == 3
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        with pytest.raises(FileNotFoundError, match=folder):
            list_patches(str(tmp_path / folder), None, lists, REASONS)


def test_find_patches_pairs_by_the_metadata(archive, caplog):
    root, _ = archive
    write_patch(
        root / "s1" / S1_NAMES[20], {b.name: constant_pixels(b) for b in get_bands("S1")}, ["Pastures"], S2_NAMES[20]
    )
    pairs = find_patches(str(root / "s2"), str(root / "s1"))
    assert pairs[5] == (folder_of(root / "s2" / S2_NAMES[5]), folder_of(root / "s1" / S1_NAMES[5]))
    assert len(pairs) == 6
    assert caplog.messages == [f"1 of 13 patches in {root}/s2 and {root}/s1 have no counterpart and are left out"]


def test_lists_that_contradict_each_other_or_lack_a_file_are_refused(tmp_path):
    lists = write_lists(tmp_path / "lists", {"train": [0], "val": [0]})
    with pytest.raises(ValueError, match=f"{S2_NAMES[0]} is on the lists of both train and val"):
        read_patch_lists(lists)
    (lists / "val.csv").unlink()
    with pytest.raises(FileNotFoundError, match="val.csv"):
        read_patch_lists(lists)


def test_only_the_split_lists_are_required(archive, tmp_path):
    root, whole = archive
    lists = root / "lists"
    for path in lists.iterdir():
        if path.stem not in ("train", "val", "test"):
            path.unlink()
    assert read_patch_lists(lists).split_of == whole.split_of
    roots = {"s2": str(root / "s2"), "lists_dir": str(lists)}
    source = open_source("bigearthnet_v1", SourceInputs(**roots))
    assert (len(source.refs), source.exclusions) == (4, {"on no split list": 2})
    assert source.read(source.refs[0]).attributes == {}
    for further, name in (
        ({"s1": str(root / "s1")}, "s1_s2_name_country_season"),
        ({"exclude": ("snow",)}, "patches_with_"),
    ):
        message = f"{name}.*the list is missing; expected .*A folder of lists needs train.csv, val.csv and test.csv"
        with pytest.raises(FileNotFoundError, match=message) as caught:
            open_source("bigearthnet_v1", SourceInputs(**roots, **further))
        assert ".py" not in str(caught.value)


def test_a_short_line_in_the_table_of_pairs_is_refused(tmp_path):
    lists = write_lists(tmp_path / "lists", {"train": [0]})
    with (lists / "s1_s2_name_country_season.csv").open("a") as file:
        file.write("S1A,S2A\n")
    with pytest.raises(ValueError, match="a line 'S1A,S2A'; expected s1_name,s2_name,country,season"):
        read_patch_lists(lists)


def test_lists_may_name_the_origin_of_the_patches(tmp_path):
    lists = write_lists(tmp_path / "lists", {"train": [0]})
    assert read_patch_lists(lists).origin == ""
    (lists / "origin.txt").write_text("a simulator\n")
    assert read_patch_lists(lists).origin == "a simulator"


def test_official_lists_have_the_published_sizes():
    lists = read_patch_lists(official_lists_folder())
    splits = list(lists.split_of.values())
    assert [splits.count(split) for split in ("train", "val", "test")] == [269695, 123723, 125866]
    assert {reason: len(names) for reason, names in lists.excluded.items()} == {
        "snow": 61707,
        "cloud": 9280,
        "no_label": 57,
    }
    excluded = frozenset().union(*lists.excluded.values())
    assert not excluded & set(lists.split_of)
    assert len(excluded | set(lists.split_of)) == len(lists.s1_of) == 590326
