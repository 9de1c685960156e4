"""Each kind of damage gives a quarantined patch with a helpful message, or is harmless and gives the same bytes.

One archive is written once; each row damages a copy of one patch in it. A wrong georeference is not damage for the
converter: it stores none, and creating a CRS takes GDAL ten times as long as reading the pixels.
"""

import csv
import dataclasses
import json
import os
import shutil
import struct
from collections.abc import Callable

import numpy as np
import pytest

from bigearth_tf.data.bands import BANDS
from bigearth_tf.data.manifest import MANIFEST_NAME
from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels, write_lists, write_pair
from tests.support.damaged_patch import DamagedPatch
from tests.support.files import contents
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.conversion.output_folder import PROBLEMS_NAME
from tfrecord_tools.raster.geotiff import utm_wkt
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

LABELS = ["Pastures", "Sea and ocean"]
HIT = 1  # The patch that is damaged.


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    for index in range(4):
        write_pair(root, index, LABELS, lambda band, index=index: random_pixels(band, index))
    write_lists(root / "lists", {"train": [0, HIT, 2], "val": [3]})
    return root


def run(root, output_dir, **options):
    inputs = SourceInputs(s2=str(root / "s2"), s1=str(root / "s1"), lists_dir=str(root / "lists"))
    return convert(open_source("bigearthnet_v1", inputs), output_dir, ConversionOptions(num_shards=2, **options))


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "whole"
    run(archive, folder)
    return contents(folder)


@dataclasses.dataclass(frozen=True)
class Row:
    """A damage to a patch, and its result: a problem in a file (`file` is the end of its name), or none (`file` "")."""

    damage: Callable[[DamagedPatch], object]
    file: str = ""
    problem: str = ""
    expected: str = ""


COMPLETE_B03 = "a complete GeoTIFF of band B03"
JSON_ROW = "a json object with a list of labels"
LIST_ROW = '{"labels": ["Pastures", ...], ...}'


def unreadable(damage, band="B03"):
    return Row(damage, f"_{band}.tif", "cannot be read", f"a complete GeoTIFF of band {band}")


def other(damage, problem, band="B03"):
    return Row(damage, f"_{band}.tif", problem, f"band {band} as 1 band(s) of {BANDS[band].size_px} x")


def bad_json(content, problem="cannot be read", expected=JSON_ROW):
    content = content if isinstance(content, bytes) else content.encode()
    return Row(lambda t: t.json().write_bytes(content), "_labels_metadata.json", problem, expected)


def missing_band(damage):
    return Row(damage, "_B03.tif", "the file is missing", "a GeoTIFF of band B03")


QUARANTINED = {
    "tif cut in the header": unreadable(lambda t: t.cut(5)),
    "tif cut after the header": unreadable(lambda t: t.cut(8)),
    "tif cut in the directory": unreadable(lambda t: t.cut(60)),
    "tif cut in the strip offsets": unreadable(lambda t: t.cut(200)),
    "tif cut in the pixels": unreadable(lambda t: t.cut(15000)),
    "tif cut by its last byte": unreadable(lambda t: t.cut(-1)),
    "tif of no bytes": unreadable(lambda t: t.cut(0)),
    "tif of zeros": unreadable(lambda t: t.tif().write_bytes(bytes(t.tif().stat().st_size))),
    "tif of another magic": unreadable(lambda t: t.poke(0, b"PK\3\4")),
    "tif with a directory beyond the end": unreadable(lambda t: t.poke(4, struct.pack("<I", 10**6))),
    "tif with its directory in the header": unreadable(lambda t: t.poke(4, struct.pack("<I", 0))),
    "tif with pixels beyond the end": unreadable(lambda t: t.set_tag(273, 10**6, band="B01"), "B01"),
    "tif with strip offsets beyond the end": unreadable(lambda t: t.set_tag(273, 10**6)),
    "tif with its pixels in the header": Row(
        lambda t: t.set_tag(273, 0, band="B01"),
        "_B01.tif",
        "does not say where its pixels are in the file",
        "a complete GeoTIFF",
    ),
    "tif without its pixels": Row(
        lambda t: t.rewrite_sparse(), "_B03.tif", "does not say where its pixels are in the file", COMPLETE_B03
    ),
    "tif of an unknown compression": unreadable(lambda t: t.set_tag(259, 60000)),
    "tif said to be wider": other(lambda t: t.set_tag(256, 121), "of 121 x 120 px"),
    "tif with a text for pixels": unreadable(lambda t: t.tif().write_text("404 Not Found\n" * 99)),
    "tif that is a png": unreadable(lambda t: t.tif().write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))),
    "band missing": missing_band(lambda t: t.tif().unlink()),
    "folder for a band": missing_band(lambda t: t.become_folder(t.tif())),
    "pipe for a band": missing_band(lambda t: (t.tif().unlink(), os.mkfifo(t.tif()))),
    "dangling link for a band": missing_band(lambda t: (t.tif().unlink(), t.tif().symlink_to("nowhere.tif"))),
    "link to itself for a band": missing_band(lambda t: (t.tif().unlink(), t.tif().symlink_to(t.tif().name))),
    "band in capitals": missing_band(lambda t: t.tif().rename(t.tif().with_suffix(".TIF"))),
    "band named without its zero": missing_band(lambda t: t.tif().rename(t.s2 / f"{S2_NAMES[HIT]}_B3.tif")),
    "band of another patch's name": missing_band(lambda t: t.tif().rename(t.s2 / f"{S2_NAMES[0]}_B03.tif")),
    "two bands swapped in size": other(
        lambda t: (shutil.copy(t.tif("B05"), t.tif("B03"))), "has 1 band(s) of 60 x 60 px, uint16"
    ),
    "other half of the swap": other(
        lambda t: (shutil.copy(t.tif("B03"), t.tif("B05"))), "has 1 band(s) of 120 x 120 px", "B05"
    ),
    "band of bytes": other(lambda t: t.rewrite(pixels=np.zeros((120, 120), np.uint8)), "uint8"),
    "band of signed numbers": other(lambda t: t.rewrite(pixels=np.zeros((120, 120), np.int16)), "another type"),
    "band of floats": other(lambda t: t.rewrite(pixels=np.zeros((120, 120), np.float32)), "float32"),
    "S1 band of integers": other(lambda t: t.rewrite("VV", np.zeros((120, 120), np.uint16)), "uint16", "VV"),
    "S1 band of doubles": other(lambda t: t.rewrite("VV", np.zeros((120, 120))), "another type", "VV"),
    "two bands in a file": other(lambda t: t.rewrite(pixels=np.zeros((2, 120, 120), np.uint16)), "has 2 band(s)"),
    "NaN in S1": Row(lambda t: t.put_pixel(np.nan), "_VV.tif", "not finite", "finite dB in band VV"),
    "infinity in S1": Row(lambda t: t.put_pixel(-np.inf), "_VV.tif", "not finite", "finite dB in band VV"),
    "json missing": Row(lambda t: t.json().unlink(), "metadata.json", "the file is missing", "a json file with"),
    "json of S1 missing": Row(
        lambda t: t.json(t.s1).unlink(), f"{S1_NAMES[HIT]}_labels_metadata.json", "the file is missing", "a json file"
    ),
    "folder for the json": Row(lambda t: t.become_folder(t.json()), "metadata.json", "the file is missing", "a json"),
    "json empty": bad_json(""),
    "json cut": bad_json('{"labels": ["Pastu'),
    "json with a byte order mark": bad_json(b"\xef\xbb\xbf" + json.dumps({"labels": LABELS}).encode()),
    "json not in UTF-8": bad_json(b'{"labels": ["Sea and oc\xe9an"]}'),
    "json in UTF-16": bad_json(json.dumps({"labels": LABELS}).encode("utf-16")),
    "json with more after it": bad_json(json.dumps({"labels": LABELS}) + "{}"),
    "json nested deeply": bad_json("[" * 100_000),
    "json with a number of 5,000 digits": bad_json('{"labels": ["Pastures"], "x": ' + "9" * 5000 + "}"),
    "json with a key twice": bad_json('{"labels": ["Pastures"], "labels": ["Pastures"]}', "a key is given twice"),
    "json that is a list": bad_json("[]", "has no list of labels", LIST_ROW),
    "json without labels": bad_json("{}", "has no list of labels", LIST_ROW),
    "labels empty": bad_json('{"labels": []}', "has no list of labels", LIST_ROW),
    "labels no list": bad_json('{"labels": "Pastures"}', "has no list of labels", LIST_ROW),
    "labels not texts": bad_json('{"labels": [1, null]}', "has no list of labels", LIST_ROW),
    "label in other case": bad_json('{"labels": ["pastures"]}', "'pastures' is unknown", "names of the 43 classes"),
    "label of the 19 classes": bad_json('{"labels": ["Arable land"]}', "is unknown", "names of the 43 classes"),
    "label twice": bad_json('{"labels": ["Pastures", "Pastures"]}', "given twice", "each once"),
    "S1 counterpart of another patch": Row(
        lambda t: t.change_json(t.s1, corresponding_s2_patch=S2_NAMES[0]),
        S1_NAMES[HIT],
        "names " + S2_NAMES[0],
        "counterpart",
    ),
    "S1 counterpart that names none": Row(
        lambda t: t.json(t.s1).write_text(json.dumps({"labels": LABELS})), S1_NAMES[HIT], "names None", "counterpart"
    ),
    "S1 counterpart with other labels": Row(
        lambda t: t.change_json(t.s1, labels=["Pastures"]), S1_NAMES[HIT], "its labels differ", "counterpart"
    ),
    "file for a patch folder": Row(
        lambda t: (shutil.rmtree(t.s2), t.s2.write_text("")), S2_NAMES[HIT], "is not a folder", "a folder of S2 bands"
    ),
    "link to itself for a patch folder": Row(
        lambda t: (shutil.rmtree(t.s2), t.s2.symlink_to(t.s2.name)), S2_NAMES[HIT], "is not a folder", "a folder of S2"
    ),
    "patch folder empty": Row(
        lambda t: (shutil.rmtree(t.s2), t.s2.mkdir()), "metadata.json", "the file is missing", "a json file"
    ),
}  # fmt: skip

HARMLESS = {
    "tiled": Row(lambda t: t.rewrite(options=["TILED=YES", "BLOCKXSIZE=64", "BLOCKYSIZE=64"])),
    "one row a strip": Row(lambda t: t.rewrite(options=["BLOCKYSIZE=1"])),
    "deflate": Row(lambda t: t.rewrite(options=["COMPRESS=DEFLATE", "PREDICTOR=2"])),
    "LZW": Row(lambda t: t.rewrite(options=["COMPRESS=LZW"])),
    "big-endian": Row(lambda t: t.rewrite(options=["ENDIANNESS=BIG"])),
    "BigTIFF": Row(lambda t: t.rewrite(options=["BIGTIFF=YES"])),
    "floats big-endian": Row(lambda t: t.rewrite("VV", options=["ENDIANNESS=BIG"])),
    "white is zero": Row(lambda t: t.rewrite(options=["PHOTOMETRIC=MINISWHITE"])),
    "another CRS": Row(lambda t: t.rewrite(crs_wkt=utm_wkt(34))),
    "no CRS": Row(lambda t: t.rewrite(crs_wkt="")),
    "another geotransform": Row(lambda t: t.rewrite(geotransform=(0, 60, 0, 0, 0, -60))),
    "bytes after the end": Row(lambda t: t.tif().write_bytes(t.tif().read_bytes() + bytes(99))),
    "sidecar with statistics": Row(lambda t: t.tif().with_suffix(".tif.aux.xml").write_text("<PAMDataset/>")),
    "broken sidecar": Row(lambda t: t.tif().with_suffix(".tif.aux.xml").write_text("<PAM")),
    "overviews next to it": Row(lambda t: t.tif().with_suffix(".tif.ovr").write_bytes(b"II*\0")),
    "world file": Row(lambda t: t.tif().with_suffix(".tfw").write_text("10\n0\n0\n-10\n0\n0\n")),
    "hidden files": Row(lambda t: [(folder / ".DS_Store").touch() for folder in (t.s2, t.s2.parent)]),
    "another file in the archive": Row(lambda t: (t.root / "s2" / "README.txt").write_text("read me")),
    "an empty folder in the archive": Row(lambda t: (t.root / "s2" / "S2A_MSIL2A_notes").mkdir()),
    "loop of folders": Row(lambda t: (t.root / "s2" / "loop").symlink_to(t.root / "s2" / "loop")),
    "json with further keys": Row(lambda t: t.change_json(comment="x", more=[1, {"a": None}])),
    "json with blanks": Row(lambda t: t.json().write_text("\n " + t.json().read_text() + "\n\n")),
    "labels in another order": Row(lambda t: t.change_json(labels=LABELS[::-1])),
    "band behind a link": Row(lambda t: t.link(t.tif(), t.root / "elsewhere.tif")),
    "patch behind a link": Row(lambda t: t.link(t.s2, t.root / "elsewhere")),
    "patch one folder deeper": Row(
        lambda t: ((t.root / "s2" / "tile").mkdir(), t.s2.rename(t.root / "s2" / "tile" / t.s2.name))
    ),
}  # fmt: skip


@pytest.fixture
def damaged(archive, tmp_path):
    """A copy of the archive made of links to its files."""
    return DamagedPatch(shutil.copytree(archive, tmp_path / "archive", copy_function=os.link), HIT)


def detach(target):
    """Replaces the links of the patch by files, so that writing into them does not change the archive."""
    for path in (target.root).rglob("*"):
        if path.is_file() and (S2_NAMES[HIT] in str(path) or S1_NAMES[HIT] in str(path)):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)


@pytest.mark.parametrize("kind", QUARANTINED)
def test_a_broken_patch_is_quarantined_and_fixing_it_gives_the_same_bytes(damaged, archive, whole, tmp_path, kind):
    row = QUARANTINED[kind]
    detach(damaged)
    row.damage(damaged)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="1 of 4 patches is broken, 0 are allowed"):
        run(damaged.root, out)
    assert not (out / MANIFEST_NAME).exists()
    with (out / PROBLEMS_NAME).open(newline="") as file:
        (problem,) = csv.DictReader(file)
    assert problem["patch_id"] == S2_NAMES[HIT]
    assert problem["file"].startswith(str(damaged.root))
    assert problem["file"].endswith(row.file)
    assert row.problem in problem["problem"]
    assert row.expected in problem["expected"]
    # Everything else is written; with one patch allowed to be broken, the manifest names it.
    tolerated = tmp_path / "tolerated"
    shutil.copytree(out, tolerated)
    manifest = run(damaged.root, tolerated, allow_problems=1)
    assert [entry["patch_id"] for entry in manifest.problems] == [S2_NAMES[HIT]]
    assert sum(shard.num_records for shard in manifest.shards) == 3
    assert not (tolerated / PROBLEMS_NAME).exists()
    # Fixed and run again.
    for folder in ("s2", "s1"):
        for path in (damaged.root / folder).iterdir():
            if path.name in (S2_NAMES[HIT], S1_NAMES[HIT]):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(archive / "s2" / S2_NAMES[HIT], damaged.s2)
    shutil.copytree(archive / "s1" / S1_NAMES[HIT], damaged.s1)
    run(damaged.root, out)
    assert contents(out) == whole


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_harmless_difference_gives_the_same_bytes(damaged, whole, tmp_path, kind):
    detach(damaged)
    HARMLESS[kind].damage(damaged)
    run(damaged.root, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_quarantined(damaged, tmp_path):
    detach(damaged)
    damaged.tif().chmod(0)
    with pytest.raises(ValueError, match="1 of 4 patches is broken.*_B03.tif: cannot be read"):
        run(damaged.root, tmp_path / "out")


def rewrite_list(name, change):
    def apply(root):
        path = root / "lists" / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(change(content))

    return apply


UNKNOWN = S2_NAMES[20].encode()
REFUSED = {
    "patch on two lists": (
        rewrite_list("val.csv", lambda c: c + S2_NAMES[0].encode()), "on the lists of both train and val"
    ),
    "unknown patch on a list": (rewrite_list("train.csv", lambda c: c + UNKNOWN), "1 of 5 listed patches are missing"),
    "other columns of pairs": (
        rewrite_list("s1_s2_name_country_season.csv", lambda c: c.replace(b"country", b"land")), "first line"
    ),
    "S1 counterpart missing": (
        lambda root: shutil.rmtree(root / "s1" / S1_NAMES[HIT]), "listed patches are missing.*--partial"
    ),
    "S2 patch named without its zeros": (
        lambda root: (root / "s2" / S2_NAMES[HIT]).rename(root / "s2" / S2_NAMES[HIT].replace("T1010", "T101")),
        "listed patches are missing",
    ),
    "patch in two places": (
        lambda root: shutil.copytree(root / "s2" / S2_NAMES[HIT], root / "s2" / "copy" / S2_NAMES[HIT]),
        "is in two places",
    ),
    "lists missing": (lambda root: shutil.rmtree(root / "lists"), "the list is missing"),
    "no patches": (lambda root: (shutil.rmtree(root / "s2"), (root / "s2").mkdir()), "no S2 patches found"),
    "list not in UTF-8": (rewrite_list("train.csv", lambda c: c + b"\xff\xfe"), "train"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_source_is_refused_before_anything_is_written(damaged, tmp_path, kind):
    damage, message = REFUSED[kind]
    damage(damaged.root)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(damaged.root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


LIST_FORMS = {
    "no newline at the end": bytes.rstrip,
    "newlines of Unix": lambda content: content.replace(b"\r\n", b"\n"),
    "newlines of old Macs": lambda content: content.replace(b"\r\n", b"\r"),
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "blank lines": lambda content: b"\r\n" + content + b"\r\n \r\n",
}


@pytest.mark.parametrize("form", LIST_FORMS)
def test_a_list_may_be_written_in_several_ways(damaged, whole, tmp_path, form):
    for name in ("train.csv", "s1_s2_name_country_season.csv"):
        if name == "train.csv" or form != "blank lines":
            rewrite_list(name, LIST_FORMS[form])(damaged.root)
    run(damaged.root, tmp_path / "out")
    assert contents(tmp_path / "out") == whole
