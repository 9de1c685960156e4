"""A patch that cannot be read is a problem with its true reason, whatever the reason; what concerns all is an error."""

import csv
import errno
import os

import pytest

from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support.archives import S2_NAMES, write_lists, write_pair
from tests.support.ordinary_user import ordinary_user
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.conversion.problems import find_problem
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.records.compare_with_source import compare
from tfrecord_tools.source import SourceInputs, os_errors_as_problems
from tfrecord_tools.sources import open_source

HIT = 1


def write_archive(root):
    for index in range(3):
        write_pair(root, index, ["Pastures"])
    write_lists(root / "lists", {"train": [0, 1, 2]})
    return root


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory):
    """Loads what a conversion and a comparison need, which an ordinary user may not be able to load."""
    root = write_archive(tmp_path_factory.mktemp("loaded"))
    convert(open_archive(root), root / "out", ConversionOptions())
    compare(ShardedDataset.open(root / "out"), open_archive(root))


def open_archive(root):
    return open_source("bigearthnet_v1", SourceInputs(s2=str(root / "s2"), lists_dir=str(root / "lists")))


def broken_patch(root):
    """Converts, and returns the row of the only broken patch."""
    with pytest.raises(ValueError, match="1 of 3 patches is broken"):
        convert(open_archive(root), root / "out", ConversionOptions())
    with (root / "out" / "problems.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["patch_id"] == S2_NAMES[HIT]
    return row


def file_of(root, end):
    return root / "s2" / S2_NAMES[HIT] / f"{S2_NAMES[HIT]}_{end}"


@pytest.mark.parametrize("end", ["B02.tif", "labels_metadata.json", ""])
def test_what_must_not_be_read_is_not_said_to_be_missing_or_broken(end):
    with ordinary_user() as root:
        write_archive(root)
        path = file_of(root, end) if end else root / "s2" / S2_NAMES[HIT]
        path.chmod(0)
        row = broken_patch(root)
        assert row["problem"] == "cannot be read (Permission denied)"
        assert row["file"].startswith(str(path))
        assert "chmod u+r; u+rx for a folder" in row["mend"]
        # The advice is right.
        path.chmod(0o500)
        convert(open_archive(root), root / "out", ConversionOptions())


@pytest.mark.parametrize("end", ["B02.tif", "labels_metadata.json"])
def test_an_error_of_the_disk_is_one_broken_patch(archive, end):
    """The start of a process's memory cannot be read: the kernel answers as it does for a broken disk."""
    file_of(archive, end).unlink()
    file_of(archive, end).symlink_to("/proc/self/mem")
    row = broken_patch(archive)
    assert row["problem"] == f"cannot be read ({os.strerror(errno.EIO)})"
    assert "Check the disk" in row["mend"]


def test_a_comparison_reports_such_a_patch_too():
    with ordinary_user() as root:
        convert(open_archive(write_archive(root)), root / "out", ConversionOptions())
        file_of(root, "labels_metadata.json").chmod(0)
        (line,) = compare(ShardedDataset.open(root / "out"), open_archive(root))
    assert f"patch {S2_NAMES[HIT]} cannot be compared: " in line
    assert "Permission denied" in line


def test_too_few_open_files_or_memory_are_no_problem_of_a_patch():
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        error = OSError(number, os.strerror(number), "a.tif")
        with pytest.raises(OSError, match=os.strerror(number)):
            find_problem(PatchRef("patch", "train", ()), error, ())
        with pytest.raises(OSError, match=os.strerror(number)), os_errors_as_problems("a.tif", "a GeoTIFF"):
            raise error


def test_an_error_that_a_source_does_not_expect_is_one_broken_patch_too(archive):
    """For example a file that the source opens itself."""
    source = open_archive(archive)
    read = source.read

    def failing(ref):
        if ref.patch_id == S2_NAMES[HIT]:
            raise OSError(errno.EIO, "Input/output error", b"caf\xe9.tif".decode(errors="surrogateescape"))
        return read(ref)

    object.__setattr__(source, "read", failing)
    manifest = convert(source, archive / "out", ConversionOptions(allow_problems=1))
    (problem,) = manifest.problems
    assert (problem["file"], problem["problem"]) == ("caf\\xe9.tif", "cannot be read (Input/output error)")
