"""Tests of the file in which a process says why it ended."""

import pytest

from bigearth_tf.runtime.error_file import PATH_VARIABLE, read_error, write_error


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "error.json"))
    return tmp_path / "error.json"


def test_the_first_reason_is_kept_on_one_line(path):
    write_error("lost\nanother rank", is_consequence=True)
    write_error("a later reason")
    assert read_error(path) == ("lost another rank", True)
    assert [file.name for file in path.parent.iterdir()] == ["error.json"]


def test_a_file_name_that_is_no_utf_8_can_be_written(path):
    write_error(b"caf\xe9.tif: missing".decode(errors="surrogateescape"))
    assert read_error(path) == (r"caf\udce9.tif: missing", False)


def test_nothing_is_raised_or_read_without_a_usable_path(tmp_path, monkeypatch):
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "missing" / "error.json"))
    write_error("no such folder")
    assert read_error(tmp_path / "missing" / "error.json") == ("", False)
    monkeypatch.delenv(PATH_VARIABLE)
    write_error("no launcher")
    (tmp_path / "damaged").write_text("{")
    assert read_error(tmp_path / "damaged") == ("", False)
