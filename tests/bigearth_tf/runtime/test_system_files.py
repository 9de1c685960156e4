"""Files that a system leaves are recognized by their names."""

import pytest

from bigearth_tf.runtime.system_files import is_system_file, list_own_files, shorten_names


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".DS_Store", True),
        ("a/._x.tif", True),
        ("a/.nfs000012/b", True),
        ("__MACOSX/a/b.tif", True),
        ("lost+found", True),
        ("a/$RECYCLE.BIN", True),
        ("a.tif", False),
        ("./a/b.tif", False),
        ("../a/b.tif", False),
        (".", False),
        ("a/lost+found.tif", False),
        ("a__MACOSX", False),
    ],
)
def test_a_name_anywhere_in_a_path(path, expected):
    assert is_system_file(path) is expected


def test_other_files_are_listed_and_named(tmp_path):
    assert list_own_files(tmp_path / "absent") == []
    for name in ("d", "c", "b", "a", ".DS_Store"):
        (tmp_path / name).touch()
    assert list_own_files(tmp_path) == ["a", "b", "c", "d"]
    assert shorten_names(list_own_files(tmp_path)) == "a, b, c and 1 more"
    assert shorten_names(["a", "b", "c"]) == "a, b, c"
