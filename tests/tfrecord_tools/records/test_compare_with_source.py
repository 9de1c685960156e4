"""The comparison of records with their source finds and names every difference."""

import dataclasses
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bigearth_tf.data.bands import BANDS
from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support import warm_python
from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels, write_lists, write_pair
from tests.support.paths import REPOSITORY
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.listing.archive import File, FolderFiles
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.raster import geotiff
from tfrecord_tools.raster.geotiff import read_band, utm_wkt, write_band
from tfrecord_tools.records.compare_with_source import compare
from tfrecord_tools.records.extracted_patch import extract_patch
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

SPLITS = {"train": [0, 1, 2, 3], "val": [4], "test": [5]}
EXTRA = 6


def open_pairs(root, **changes):
    inputs = SourceInputs(s2=str(root / "s2"), s1=str(root / "s1"), lists_dir=str(root / "lists"))
    return open_source("bigearthnet_v1", dataclasses.replace(inputs, **changes))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    for index in (*range(6), EXTRA):
        write_pair(root, index, ["Pastures"], lambda band, index=index: random_pixels(band, index))
    write_lists(root / "lists", SPLITS)
    convert(open_pairs(root), root / "records", ConversionOptions(num_shards=2))
    return root


@pytest.fixture
def copy(archive, tmp_path):
    return shutil.copytree(archive, tmp_path / "copy")


def differences(root, workers=1, **changes):
    folder = root / "records"
    return compare(ShardedDataset.open(folder), open_pairs(root, **changes), workers)


def change_pixel(root, index, name, row, column, change):
    """Writes a band again with one pixel changed."""
    folder = root / ("s2" if BANDS[name].sensor == "S2" else "s1")
    patch = (S2_NAMES if BANDS[name].sensor == "S2" else S1_NAMES)[index]
    path = folder / patch / f"{patch}_{name}.tif"
    pixels = read_band(File(str(path)), BANDS[name]).copy()
    pixels[row, column] = change(pixels[row, column])
    path.unlink()
    write_band(path, pixels, utm_wkt(33), (404400.0, 10, 0.0, 5342400.0, 0.0, -10))


def change_json(root, index, **changes):
    for folder, names in (("s2", S2_NAMES), ("s1", S1_NAMES)):
        path = root / folder / names[index] / f"{names[index]}_labels_metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_records_of_an_unchanged_source_equal_it(archive):
    assert differences(archive) == []


@pytest.mark.full
def test_two_processes_find_no_difference_either(archive):
    assert differences(archive, workers=2) == []


def test_one_bit_of_one_pixel_is_found(copy):
    change_pixel(copy, 2, "B11", 7, 31, lambda value: value ^ 1)
    (line,) = differences(copy)
    value = random_pixels(BANDS["B11"], 2)[7, 31]
    assert f"patch {S2_NAMES[2]} band B11: 1 pixels differ, the first in row 7, column 31: {value}, {value ^ 1}" in line
    assert "records" in line and "train-0000" in line


def test_the_last_bit_of_a_float_is_found(copy):
    change_pixel(copy, 4, "VH", 119, 119, lambda value: np.nextafter(value, np.float32(0)))
    (line,) = differences(copy, workers=2)
    assert f"patch {S2_NAMES[4]} band VH: 1 pixels differ, the first in row 119, column 119" in line
    assert "val-00000" in line


def test_a_mistake_of_the_plain_reader_is_found(copy, monkeypatch):
    def mistaken(_, size_px, dtype):
        return np.zeros((size_px, size_px), dtype)

    monkeypatch.setattr(geotiff, "plain_pixels", mistaken)
    shutil.rmtree(copy / "records")
    convert(open_pairs(copy), copy / "records", ConversionOptions(num_shards=2))
    lines = differences(copy)
    assert len(lines) == 6 * len(BANDS)
    assert "band B02: 14" in "".join(lines)


def pack(root, *options):
    """Packs the folders of both sensors; the tars have the names of the folders."""
    for name in ("s2", "s1"):
        subprocess.run(["tar", "-C", root, "-cf", root / "x.tar", *options, name], check=True)
        shutil.rmtree(root / name)
        (root / "x.tar").rename(root / name)


def test_records_equal_the_tars_of_their_source(copy):
    pack(copy)
    assert differences(copy) == []


def test_a_mistake_of_reading_a_tar_in_place_is_found(copy, monkeypatch):
    """The conversion takes one member of a tar for another, and so would a comparison that reads it the same way."""
    right = FolderFiles.file

    def mistaken(files, name):
        return right(files, name.replace("_B05", "_B06") if files.members else name)

    pack(copy)
    shutil.rmtree(copy / "records")
    monkeypatch.setattr(FolderFiles, "file", mistaken)
    convert(open_pairs(copy), copy / "records", ConversionOptions(num_shards=2))
    lines = differences(copy)
    assert [line.split("band ")[1][:3] for line in lines] == ["B05"] * 6


@pytest.mark.parametrize("form", ["gnu", "posix", "posix --sparse-version=0.0", "posix --sparse-version=0.1"])
def test_a_comparison_reads_members_that_are_stored_with_holes(copy, form):
    """Such a member cannot be read in place; the standard library fills its holes."""
    for index in (1, 2):
        change_pixel(copy, index, "B02", 0, 0, lambda _: 0)
        write_holes(copy / "s2" / S2_NAMES[index] / f"{S2_NAMES[index]}_B02.tif")
    shutil.rmtree(copy / "records")
    convert(open_pairs(copy), copy / "records", ConversionOptions(num_shards=2))
    pack(copy, "--sparse", *f"--format={form}".split())
    with pytest.raises(ValueError, match=r"2 of 6 patches are broken.*stored with holes"):
        convert(open_pairs(copy), copy / "in_place", ConversionOptions(num_shards=2))
    assert differences(copy) == []


def write_holes(path):
    """Makes a TIFF sparse: its file has a hole after the pixels, and 1 MB more."""
    with path.open("r+b") as file:
        file.truncate(1 << 20)


def test_a_member_that_is_a_file_of_its_own_is_extracted(tmp_path):
    """As in the tars of EuroSAT and SEN12MS; `x` is there twice, and the last one counts."""
    (tmp_path / "a").mkdir()
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in (("a/x", b"first"), ("a/y", b"second" * 1000), ("b/x", b"third"), ("a/x", b"last")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / "records").write_bytes(b"no tar")
    parts = [File(str(tmp_path / "x.tar"), 0, 1, name) for name in ("a/x", "a/y", "b/x", "absent")]
    parts += [File(str(tmp_path / "records"), 0, 2, "record 0"), File(str(tmp_path / "plain"))]
    with extract_patch(PatchRef("patch", "train", tuple(parts))) as patch:
        contents = [part.read_bytes() for part in patch.parts[:3]]
        assert contents == [b"last", b"second" * 1000, b"third"]
        assert not patch.parts[3].exists()
        assert patch.parts[4:] == tuple(parts[4:])
        folder = Path(patch.parts[0].path).parent
    assert not folder.exists()


def test_swapped_bands_are_found(copy):
    folder = copy / "s2" / S2_NAMES[0]
    first, second = (folder / f"{S2_NAMES[0]}_{name}.tif" for name in ("B05", "B06"))
    first.rename(folder / "kept")
    second.rename(first)
    (folder / "kept").rename(second)
    assert [line.split("band ")[1][:3] for line in differences(copy)] == ["B05", "B06"]


def test_another_label_is_found(copy):
    change_json(copy, 1, labels=["Pastures", "Airports", "Sea and ocean"])
    (line,) = differences(copy)
    assert f"patch {S2_NAMES[1]} has labels ['Pastures'], ['Pastures', 'Marine waters'] in the source" in line


def test_another_attribute_is_found(copy):
    path = copy / "lists" / "s1_s2_name_country_season.csv"
    path.write_text(path.read_text().replace(f"{S2_NAMES[5]},Austria", f"{S2_NAMES[5]},Serbia"))
    (line,) = differences(copy)
    assert f"patch {S2_NAMES[5]} has attributes" in line
    assert "Austria" in line and "Serbia" in line


def test_a_patch_removed_from_the_source_is_found(copy):
    shutil.rmtree(copy / "s2" / S2_NAMES[3])
    with pytest.raises(FileNotFoundError, match=f"1 of 6 listed patches.*{S2_NAMES[3]}"):
        differences(copy)
    (line,) = differences(copy, partial_archive=True)
    assert line.endswith(f"patch {S2_NAMES[3]} is not in the source")


def test_a_patch_added_to_the_source_is_found(copy):
    (copy / "lists" / "val.csv").write_text(f"{S2_NAMES[4]}\n{S2_NAMES[EXTRA]}\n")
    (line,) = differences(copy)
    assert line.endswith(f"patch {S2_NAMES[EXTRA]} of the source (val) is in no shard")


def test_a_patch_in_another_split_is_found(copy):
    for split, index in (("val", 5), ("test", 4)):
        (copy / "lists" / f"{split}.csv").write_text(f"{S2_NAMES[index]}\n")
    lines = differences(copy)
    assert len(lines) == 2
    assert any(f"patch {S2_NAMES[4]} is in split test of the source, in val here" in line for line in lines)


def test_a_broken_file_is_reported_and_the_rest_compared(copy):
    path = copy / "s2" / S2_NAMES[0] / f"{S2_NAMES[0]}_B02.tif"
    path.write_bytes(path.read_bytes()[:500])
    change_pixel(copy, 4, "B02", 0, 0, lambda value: value ^ 1)
    lines = differences(copy)
    assert len(lines) == 2
    assert any(f"patch {S2_NAMES[0]} cannot be compared: " in line and "B02.tif" in line for line in lines)


def test_a_patch_tolerated_as_broken_may_be_missing(copy):
    path = copy / "s2" / S2_NAMES[0] / f"{S2_NAMES[0]}_B02.tif"
    path.write_bytes(path.read_bytes()[:500])
    shutil.rmtree(copy / "records")
    convert(open_pairs(copy), copy / "records", ConversionOptions(num_shards=2, allow_problems=1))
    assert differences(copy) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"nomenclature": "43"}, "nomenclature: 19 there, 43 here.*number of classes: 19 there, 43 here"),
        ({"s1": None}, "bands: B01"),
        ({"exclude": ("snow",)}, "exclude"),
    ],
)
def test_a_source_opened_with_other_flags_is_refused(archive, changes, named):
    with pytest.raises(ValueError, match=f"with other flags.*{named}.*flags of the conversion"):
        differences(archive, **changes)


def test_every_input_of_a_source_has_a_flag():
    script = (
        "from absl import flags; from tfrecord_tools.source_flags import define_source_flags, read_source_inputs\n"
        "define_source_flags(None, 'x'); flags.FLAGS(['x', '--s2=a', '--exclude=snow,cloud', '--seed=3'])\n"
        "print(read_source_inputs())"
    )
    result = warm_python.run(["-c", script], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES)
    expected = SourceInputs(s2="a", exclude=("snow", "cloud"), seed=3)
    assert result.stdout.strip() == str(expected), result.stderr


def test_the_command_compares_with_the_source_that_is_named(archive, copy):
    change_pixel(copy, 2, "B11", 7, 31, lambda value: value ^ 1)

    def run(root, *arguments):
        command = ["-m", "tfrecord_tools.verify", f"--data_dir={root / 'records'}", *arguments]
        return warm_python.run(command, cwd=REPOSITORY)

    def source(root):
        inputs = [f"--s2={root / 's2'}", f"--s1={root / 's1'}", f"--lists_dir={root / 'lists'}"]
        return ["--source=bigearthnet_v1", *inputs, "--workers=1"]

    passed = run(archive, *source(archive))
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.startswith("PASS: 6 records in 4 shards") and "compared with the source" in passed.stdout
    assert run(copy).stdout.startswith("PASS")
    failed = run(copy, *source(copy))
    assert failed.returncode == 1
    assert "band B11: 1 pixels differ" in failed.stdout and "FAIL: 6 records" in failed.stdout
    unnamed = run(copy, *source(copy)[1:])
    assert unnamed.returncode == 1
    assert "error: Flags of a source are given, but not which" in unnamed.stderr
