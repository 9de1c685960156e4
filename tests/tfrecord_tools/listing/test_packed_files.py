"""A packed archive is refused with the command that unpacks it, whatever its name; the tests run the command."""

import bz2
import gzip
import io
import lzma
import re
import subprocess
import tarfile
import zipfile

import pytest

from tfrecord_tools.listing.walk import list_folders

PATCH = re.compile(r"patch_\d+")
KINDS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def content_of_tar():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("patch_1/a.tif")
        member.size = 700
        tar.addfile(member, io.BytesIO(b"1" * 700))
    return content.getvalue()


def run_advice(root, step):
    """Runs the command at the end of the message; returns the new path in it."""
    with pytest.raises(ValueError, match=step) as caught:
        list_folders(str(root), PATCH)
    command = str(caught.value).split(": ")[-1]
    subprocess.run(command, shell=True, check=True)
    return command.split(" -d " if command.startswith("unzip") else " > ")[1].strip("'")


def assert_unpacked(root):
    assert list_folders(root, PATCH).found["patch_1"].locate().file("a.tif").read_bytes() == b"1" * 700


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("gzip", "x.tar.gz"),
        ("gzip", "x.tgz"),
        ("gzip", "x.tar"),
        ("gzip", "d41d8cd98f00b204e9800998ecf8427e"),
        ("gzip", "a folder's x.gzip"),
        ("bzip2", "x.tar.bz2"),
        ("xz", "x.tar"),
    ],
)
def test_a_compressed_tar_is_refused_with_the_command_that_decompresses_it(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(KINDS[kind](content_of_tar()))
    unpacked = run_advice(path, f"compressed with {kind}.*Decompress it once: ")
    assert path.exists()
    assert_unpacked(re.sub(r"'\"'\"'", "'", unpacked))


@pytest.mark.parametrize("dot", ["", "."])
def test_the_parts_of_a_compressed_tar_are_joined_and_decompressed(tmp_path, dot):
    content = gzip.compress(content_of_tar())
    for index, ending in enumerate(("aa", "ab")):
        (tmp_path / f"x.tar.gz{dot}{ending}").write_bytes(content[index * 50 : (index + 1) * 50 if not index else None])
    for ending in ("ab", "aa"):
        unpacked = run_advice(
            tmp_path / f"x.tar.gz{dot}{ending}", "a part of a compressed archive.*Join and decompress"
        )
        assert unpacked == str(tmp_path / "x.tar")
        assert_unpacked(unpacked)


def test_a_zip_is_refused_with_the_command_that_unpacks_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("patch_1/a.tif", b"1" * 700)
    assert_unpacked(run_advice(tmp_path / "x.zip", "is a zip.*Unpack it once, and name the folder"))
