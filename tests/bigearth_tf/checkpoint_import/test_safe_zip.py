"""Safe unpacking: zips that write elsewhere, contain links or never end are refused and leave no files."""

import stat
import struct
import zipfile

import pytest

from bigearth_tf.checkpoint_import.safe_zip import unpack


def write_zip(path, members, **options):
    """Writes a zip of (name or ZipInfo, content) pairs and returns its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, **options)
    return path


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_folders_are_unpacked_unchanged(tmp_path, target):
    path = write_zip(tmp_path / "a.zip", [("model/", ""), ("model/x.index", b"abc"), ("model/deep/y", b"d" * 3_000_000),
                                          ("__MACOSX/model/._x.index", b"?"), ("model/._y", b"?")])  # fmt: skip
    unpack(path, target)
    assert contents(target) == {"model/x.index": b"abc", "model/deep/y": b"d" * 3_000_000}


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "a\\..\\..\\evil", "\\evil", "./a", "a//b", "evil\0.index"]
)
def test_a_path_that_leaves_the_folder_is_refused(name, tmp_path, target):
    # zipfile corrects such names on writing, so they are inserted by hand.
    path = write_zip(tmp_path / "a.zip", [("good", b"1"), ("x" * len(name), b"evil")])
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name.encode()))
    with pytest.raises(ValueError, match=r"a\.zip: member .* The zip was not imported"):
        unpack(path, target)
    assert not contents(tmp_path / "target")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_refused(kind, tmp_path, target):
    link = zipfile.ZipInfo("link")
    link.external_attr = (kind | 0o777) << 16
    path = write_zip(tmp_path / "a.zip", [(link, "/etc/passwd"), ("link/file", b"1")])
    with pytest.raises(ValueError, match="'link' is a link or a device"):
        unpack(path, target)
    assert not list(target.iterdir())


def test_an_encrypted_member_is_refused(tmp_path, target):
    path = write_zip(tmp_path / "a.zip", [("secret", b"1")])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="'secret' is encrypted"):
        unpack(path, target)


def test_a_repeated_name_is_refused(tmp_path, target):
    path = write_zip(tmp_path / "a.zip", [("Checkpoint", b"1"), ("checkpoint", b"2")])
    with pytest.raises(ValueError, match="'checkpoint' is in the zip twice"):
        unpack(path, target)


def test_too_many_members_are_refused(tmp_path, target):
    path = write_zip(tmp_path / "a.zip", [(str(number), b"") for number in range(6)])
    with pytest.raises(ValueError, match="6 members; 5 are allowed"):
        unpack(path, target, max_members=5)


def test_the_limit_of_bytes_is_for_all_members_together(tmp_path, target):
    path = write_zip(tmp_path / "a.zip", [(str(number), b"\0" * 1_000_000) for number in range(4)])
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="unpacks to more than 3,500,000 bytes"):
        unpack(path, target, max_bytes=3_500_000)
    assert not list(target.iterdir())
    unpack(path, target, max_bytes=4_000_000)


@pytest.mark.parametrize("claimed", [10, 50_000_000])
def test_a_wrong_size_in_the_header_is_not_trusted(claimed, tmp_path, target):
    content = b"\0" * 5_000_000
    path = write_zip(tmp_path / "a.zip", [("bomb", content)])
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", len(content)), struct.pack("<L", claimed)))
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size == claimed
    with pytest.raises(ValueError, match="damaged or cut short|unpacks to more than"):
        unpack(path, target, max_bytes=1_000_000)
    assert not list(target.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_zip_is_an_error_and_leaves_no_files(damage, tmp_path, target):
    content = bytes(range(256)) * 40
    path = write_zip(tmp_path / "a.zip", [("first", b"1"), ("second", content)])
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[data.index(b"second") + 60] ^= 0xFF
    damaged = {"cut": data[: len(data) // 2], "flip": data, "empty": b"", "text": b"no zip at all"}[damage]
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.zip: this zip is damaged or cut short"):
        unpack(path, target)
    assert not list(target.iterdir())
