"""Files in folder trees and in every kind of tar are found in little memory, and no other file is read."""

import io
import os
import re
import subprocess
import tarfile
import tracemalloc

import pytest

from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels, write_lists, write_pair
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.listing.archive import File, Folder, UnreadableMemberError
from tfrecord_tools.listing.walk import list_files, list_folders
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

PATCH = re.compile(r"patch_\d+")


def add(tar, name, content=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    tar.addfile(info, io.BytesIO(content))


def read(folder, name):
    return folder.locate().file(name).read_bytes()


@pytest.fixture
def tree(tmp_path):
    for number in range(3):
        folder = tmp_path / "root" / "tile" / f"patch_{number}"
        folder.mkdir(parents=True)
        (folder / "a.tif").write_bytes(b"%d" % number * 700)
    (tmp_path / "root" / "notes").mkdir()
    return tmp_path / "root"


def test_folders_of_a_tree_are_found_at_several_depths(tree):
    found = list_folders(str(tree), PATCH).found
    assert found["patch_1"] == Folder(str(tree / "tile"), "patch_1")
    assert sorted(found) == ["patch_0", "patch_1", "patch_2"]
    file = found["patch_1"].locate().file("a.tif")
    assert (file.exists(), file.read_bytes(), file.read_start(5)) == (True, b"1" * 700, b"11111")
    assert str(file) == file.gdal_path == str(tree / "tile" / "patch_1" / "a.tif")
    assert not found["patch_1"].locate().file("b.tif").exists()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_read_in_place(tree, tmp_path, form):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as tar:
        tar.add(tree, "root")
    found = list_folders(str(path), PATCH).found
    assert sorted(found) == ["patch_0", "patch_1", "patch_2"]
    assert all(len(folder.ranges) == 1 for folder in found.values())
    file = found["patch_2"].locate().file("a.tif")
    assert (file.exists(), file.read_bytes(), file.read_start(5)) == (True, b"2" * 700, b"22222")
    assert file.read_start(10**6) == b"2" * 700, "part of the next member was read"
    assert str(file) == f"{path}:root/tile/patch_2/a.tif"
    assert file.gdal_path == f"/vsisubfile/{file.offset}_700,{path}"
    absent = found["patch_2"].locate().file("b.tif")
    assert not absent.exists()
    assert str(absent) == f"{path}:patch_2/b.tif"
    assert [str(file) for file in list_files(str(path), re.compile(r"a\.tif")).found] == [
        f"{path}:root/tile/patch_{number}/a.tif" for number in range(3)
    ]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_umlauts_in_a_tar_are_read(tmp_path, form):
    path, long = tmp_path / "x.tar", "/".join(["ü" * 60] * 3)
    with tarfile.open(path, "w", format=form) as tar:
        for number in range(3):
            add(tar, f"{long}/patch_{number}/{'b' * 120}.tif", b"%d" % number)
            add(tar, f"{long}/patch_{number}/c.tif", b"c%d" % number)
    found = list_folders(str(path), PATCH).found
    assert [read(found[f"patch_{number}"], "b" * 120 + ".tif") for number in range(3)] == [b"0", b"1", b"2"]
    assert [read(found[f"patch_{number}"], "c.tif") for number in range(3)] == [b"c0", b"c1", b"c2"]


def test_members_of_folders_may_be_interleaved(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in "abcd":
            for number in range(3):
                add(tar, f"patch_{number}/{name}.tif", f"{name}{number}".encode() * 300)
    found = list_folders(str(tmp_path / "x.tar"), PATCH).found
    assert [len(folder.ranges) for folder in found.values()] == [4, 4, 4]
    assert all(read(found[f"patch_{n}"], f"{x}.tif") == f"{x}{n}".encode() * 300 for n in range(3) for x in "abcd")


def test_a_member_that_is_no_regular_file_says_so_and_a_name_opens_nothing_else(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "patch_0/a.tif", b"whole")
        add(tar, "patch_0/symbolic.tif", kind=tarfile.SYMTYPE, link=str(tmp_path / "secret"))
        add(tar, "patch_0/hard.tif", kind=tarfile.LNKTYPE, link="patch_0/a.tif")
        add(tar, "patch_0/pipe.tif", kind=tarfile.FIFOTYPE)
        add(tar, "/absolute/patch_1/a.tif", b"absolute")
        add(tar, "../../climbing/patch_2/a.tif", b"climbing")
        add(tar, "patch_3", kind=tarfile.SYMTYPE, link="patch_0")
        add(tar, "patch_4", b"a file")
        add(tar, "patch_5", kind=tarfile.DIRTYPE)
    found = list_folders(str(tmp_path / "x.tar"), PATCH).found
    files = found["patch_0"].locate()
    assert files.names() == ["a.tif", "hard.tif", "pipe.tif", "symbolic.tif"]
    refusals = {
        "a": "",
        "symbolic": "is a link to /.*/secret",
        "hard": "is a hard link to patch_0/a.tif",
        "pipe": "is not",
    }
    for name, refusal in refusals.items():
        file = files.file(f"{name}.tif")
        assert file.exists() and re.match(refusal or "$", file.refusal)
        for read_it in (file.read_bytes, lambda file=file: file.read_start(99), file.check):
            if refusal:
                with pytest.raises(UnreadableMemberError, match=refusal):
                    read_it()
            else:
                assert read_it() in (b"whole", None)
    # Members are read where they lie in the tar: a name opens no other file.
    assert read(found["patch_1"], "a.tif") == b"absolute"
    assert read(found["patch_2"], "a.tif") == b"climbing"
    for name, refusal in (("patch_3", "is a link to patch_0"), ("patch_4", "is not a folder")):
        with pytest.raises(UnreadableMemberError, match=refusal):
            found[name].locate()
    assert found["patch_5"].exists() and found["patch_5"].locate().names() == []


@pytest.mark.parametrize("form", ["gnu", "posix", "posix --sparse-version=0.0", "posix --sparse-version=0.1"])
def test_a_member_that_is_stored_with_holes_is_not_read_in_place(tmp_path, form):
    for number in range(3):
        (tmp_path / "root" / f"patch_{number}").mkdir(parents=True)
        with (tmp_path / "root" / f"patch_{number}" / "a.tif").open("wb") as file:
            if number == 1:
                file.seek(1 << 20)
            file.write(b"%d" % number * 5000)
    command = ["tar", "-C", tmp_path / "root", "-cf", tmp_path / "x.tar", "--sort=name"]
    subprocess.run([*command, "--sparse", *f"--format={form}".split(), "."], check=True)
    assert (tmp_path / "x.tar").stat().st_size < 1 << 20
    for files in (
        {
            name: folder.locate().file("a.tif")
            for name, folder in list_folders(str(tmp_path / "x.tar"), PATCH).found.items()
        },
        {
            os.path.dirname(file.member)[2:]: file
            for file in list_files(str(tmp_path / "x.tar"), re.compile("a.tif")).found
        },
    ):
        assert files["patch_0"].read_bytes() == b"0" * 5000
        assert files["patch_2"].read_bytes() == b"2" * 5000
        with pytest.raises(UnreadableMemberError, match="stored with holes .tar --sparse.*cannot be read in place"):
            files["patch_1"].read_bytes()
    subprocess.run([*command, "--dereference", "--hard-dereference", "."], check=True)  # The advice of PACK_AGAIN.
    assert len(read(list_folders(str(tmp_path / "x.tar"), PATCH).found["patch_1"], "a.tif")) == (1 << 20) + 5000


def test_a_member_with_a_long_path_that_is_stored_with_holes_is_named(tmp_path):
    """Its header names it `GNUSparseFile.<number>/a.tif`, and its long path repeats that."""
    folder = tmp_path / "root" / ("x" * 150) / "patch_1"
    folder.mkdir(parents=True)
    with (folder / "a.tif").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"1" * 5000)
    command = ["tar", "-C", tmp_path / "root", "-cf", tmp_path / "x.tar", "--sparse", "--format=posix"]
    subprocess.run([*command, "--sparse-version=0.1", "."], check=True)
    (file,) = list_files(str(tmp_path / "x.tar"), re.compile("a.tif")).found
    assert file.member == f"./{'x' * 150}/patch_1/a.tif"
    files = list_folders(str(tmp_path / "x.tar"), PATCH).found["patch_1"].locate()
    assert files.names() == ["a.tif"]
    with pytest.raises(UnreadableMemberError, match="stored with holes"):
        files.file("a.tif").read_bytes()


def test_a_folder_in_two_places_is_refused(tree, tmp_path):
    (tree / "other" / "patch_1").mkdir(parents=True)
    with pytest.raises(ValueError, match="patch_1 is in two places"):
        list_folders(str(tree), PATCH)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tree, "root")
    with pytest.raises(ValueError, match="patch_1 is in two places, root/.*/patch_1 and root/.*/patch_1. Keep one"):
        list_folders(str(tmp_path / "x.tar"), PATCH)


def test_a_file_that_is_not_an_archive_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder or tar"):
        list_folders(str(tmp_path / "absent"), PATCH)
    (tmp_path / "x.tar").write_bytes(b"no tar" * 999)
    with pytest.raises(ValueError, match="neither a folder nor a tar"):
        list_files(str(tmp_path / "x.tar"), PATCH)


@pytest.mark.parametrize("where", ["header", "content", "end mark"])
def test_a_truncated_tar_is_refused(tmp_path, where):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(9):
            add(tar, f"patch_{number}/a.tif", b"x" * 5000)
    member = 512 + 5120
    os.truncate(path, {"header": 5 * member + 100, "content": 5 * member + 3000, "end mark": 9 * member}[where])
    with pytest.raises(ValueError, match="damaged tar.*Copy or download it again"):
        list_folders(str(path), PATCH)


def test_a_broken_header_between_members_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            add(tar, f"patch_{number}/a.tif", b"x" * 500)
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged tar .no header and no end mark at byte 1024"):
        list_folders(str(path), PATCH)


def test_listing_stores_little_per_folder_and_nothing_per_member(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number in range(20_000):
            add(tar, f"patch_{number // 1000}/{number}.tif", b"x")
    tracemalloc.start()
    try:
        found = list_folders(str(tmp_path / "x.tar"), PATCH).found
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(folder.ranges) for folder in found.values()] == [1] * 20
    assert kept < 50_000
    assert peak < 500_000


def test_a_place_is_a_tuple_and_may_be_missing(tmp_path):
    assert File("x.tif") == File("x.tif", 0, -1, "")
    assert not Folder(str(tmp_path), "absent").exists()


@pytest.mark.parametrize(
    "order", [sorted, lambda paths: sorted(paths, key=lambda path: (path.suffix, path.name[::-1]))]
)
def test_tars_give_the_same_records_as_their_folders(tmp_path, order):
    for index in range(4):
        write_pair(tmp_path, index, ["Pastures"], lambda band, index=index: random_pixels(band, index))
    lists = write_lists(tmp_path / "lists", {"train": [0, 1, 2], "val": [3]})
    for sensor in ("s2", "s1"):
        with tarfile.open(tmp_path / f"{sensor}.tar", "w") as tar:
            for path in order([path for path in (tmp_path / sensor).rglob("*") if path.is_file()]):
                tar.add(path, f"archive/{path.relative_to(tmp_path / sensor)}")
    contents = []
    for suffix in ("", ".tar"):
        inputs = SourceInputs(f"{tmp_path}/s2{suffix}", f"{tmp_path}/s1{suffix}", lists_dir=str(lists))
        out = tmp_path / f"out{suffix}"
        convert(open_source("bigearthnet_v1", inputs), out, ConversionOptions(num_shards=2))
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert contents[0] == contents[1]
    # A broken member is named by the path of the tar and its own.
    content = bytearray((tmp_path / "s1.tar").read_bytes())
    place = content.index(f"{S1_NAMES[2]}_VV.tif".encode())
    content[content.index(b"II*\0", place)] = 0
    (tmp_path / "s1.tar").write_bytes(content)
    source = open_source("bigearthnet_v1", inputs)
    with pytest.raises(ValueError, match=rf"s1\.tar:archive/{S1_NAMES[2]}/{S1_NAMES[2]}_VV\.tif: cannot be read"):
        convert(source, tmp_path / "broken", ConversionOptions(num_shards=2))
    assert S2_NAMES[2] in (tmp_path / "broken" / "problems.csv").read_text()
