"""The walk follows links, reads each folder once, raises an error for what it cannot list, and counts the rest."""

import re
import tarfile

import pytest

from tests.support.ordinary_user import ordinary_user
from tfrecord_tools.listing.walk import list_files, list_folders, require_all_groups

PATCH, IMAGE = re.compile(r"patch_\d+"), re.compile(r"[^.].*\.tif")


@pytest.fixture
def root(tmp_path):
    for place in ("a/patch_1", "a/b/c/d/e/patch_2", "elsewhere/patch_3"):
        folder = tmp_path / "root" / place if place[0] == "a" else tmp_path / place
        folder.mkdir(parents=True)
        (folder / f"{folder.name}.tif").write_bytes(b"II")
    return tmp_path / "root"


def names(root):
    """Returns the patches that are found by their folders and by their files, which must be the same."""
    folders, files = list_folders(str(root), PATCH), list_files(str(root), IMAGE)
    assert sorted(folders.found) == sorted(re.search(r"patch_\d+", str(file))[0] for file in files.found)
    assert folders.left_out == files.left_out
    return sorted(folders.found), files.left_out


def test_patches_are_found_at_any_depth_and_behind_links(root, tmp_path):
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert names(root) == (["patch_1", "patch_2", "patch_3"], {})


def test_a_folder_is_read_once_and_a_loop_of_links_ends(root):
    (root / "a" / "again").symlink_to(root / "a" / "b")
    (root / "a" / "b" / "loop").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    assert names(root) == (["patch_1", "patch_2"], {})


def test_a_link_that_leads_nowhere_is_counted(root):
    (root / "lost").symlink_to(root / "absent")
    assert names(root) == (["patch_1", "patch_2"], {"links that lead nowhere": 1})


SYSTEM_FOLDERS = ("__MACOSX", "lost+found", ".Trash-1000", ".snapshot", "@eaDir", "$RECYCLE.BIN")


@pytest.mark.parametrize("packed", [False, True])
def test_what_a_system_leaves_is_nobodys(root, tmp_path, packed):
    for name in SYSTEM_FOLDERS:
        folder = root / name / "patch_1"
        folder.mkdir(parents=True)
        (folder / "patch_1.tif").write_bytes(b"II")
    for name in (".DS_Store", "._patch_9.tif", ".nfs0001", "Thumbs.db"):
        (root / name).touch()
    if packed:
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            tar.add(root, ".")
    assert names(tmp_path / "x.tar" if packed else root) == (["patch_1", "patch_2"], {})


def test_links_in_a_tar_are_counted(root, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        (root / "link").symlink_to(tmp_path / "elsewhere")
        tar.add(root, ".")
    assert names(tmp_path / "x.tar") == (["patch_1", "patch_2"], {"links in the tar": 1})


def test_a_folder_that_cannot_be_listed_is_an_error_unless_it_is_nobodys():
    with ordinary_user() as folder:
        for name in ("root/lost+found", "root/a/patch_1", "root/b/patch_2"):
            (folder / name).mkdir(parents=True)
        (folder / "root" / "lost+found").chmod(0)
        assert sorted(list_folders(str(folder / "root"), PATCH).found) == ["patch_1", "patch_2"]
        (folder / "root" / "b").chmod(0)
        for walk in (list_folders, list_files):
            with pytest.raises(
                OSError, match=r"root/b: the folder cannot be listed \(Permission denied\).*Make it readable"
            ):
                walk(str(folder / "root"), PATCH)
        (folder / "root" / "b").chmod(0o700)


def test_a_group_without_a_patch_is_an_error_unless_the_archive_is_partial(caplog):
    require_all_groups("root", ("Forest", "River"), {"River", "Forest"}, False)
    with pytest.raises(FileNotFoundError, match="root: contains no image of Forest. .*--partial_archive"):
        require_all_groups("root", ("Forest", "River"), {"River"}, False)
    require_all_groups("root", ("Forest", "River"), {"River"}, True)
    assert caplog.messages == ["root: contains no image of Forest."]
