"""Every patch that a source sees ends in a record, in an exclusion that is counted, or in a problem that is named."""

import tarfile

import pytest

from bigearth_tf.data.labels import CLASSES_19
from tests.support.archives import S1_NAMES, S2_NAMES, write_lists, write_pair
from tests.support.bigearthnet_v2 import S1_NAMES as V2_S1_NAMES
from tests.support.bigearthnet_v2 import S2_NAMES as V2_S2_NAMES
from tests.support.bigearthnet_v2 import table, write_tree
from tests.support.eurosat_ms import pixels_of
from tests.support.geotiffs import write_image
from tests.support.int64_records import encode_patch, write_shard
from tests.support.ordinary_user import ordinary_user
from tests.support.sen12ms import NUM_PIXELS, path_of, write_triple
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.source import PatchError, SourceInputs
from tfrecord_tools.sources import open_source


def count(source, folder, num_seen):
    """Converts a source; returns its exclusions, and patch id -> problem, after adding up."""
    manifest = convert(source, folder, ConversionOptions(num_shards=1, allow_problems=99))
    num_records = sum(shard.num_records for shard in manifest.shards)
    assert num_records + sum(manifest.exclusions.values()) + len(manifest.problems) == num_seen
    return manifest.exclusions, {problem["patch_id"]: problem["problem"] for problem in manifest.problems}


def pack(folder, path):
    """Packs a folder as `tar` does: links stay links."""
    with tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    return path


@pytest.fixture(scope="module")
def v1(tmp_path_factory):
    """Pairs 0 ... 9; 10 and 11 are not on a split list, and 11 is not in the table of pairs either."""
    root = tmp_path_factory.mktemp("v1")
    for index in range(12):
        write_pair(root, index, ["Airports", "Bare rock"] if index == 2 else ["Pastures"])
    (root / "s1" / S1_NAMES[3]).rename(root / "away_s1_3")
    (root / "s2" / S2_NAMES[4]).rename(root / "away_s2_4")
    (root / "s2" / S2_NAMES[5]).rename(root / "away_s2_5")  # Snow, of which only S1 is there.
    (root / "tile").mkdir()
    (root / "s2" / S2_NAMES[8]).rename(root / "tile" / S2_NAMES[8])
    (root / "s2" / "tile").symlink_to(root / "tile")
    lists = write_lists(root / "lists", {"train": [0, 1, 2, 3, 4, 6, 7], "val": [8], "test": [9]}, {"snow": [5]})
    pairs = lists / "s1_s2_name_country_season.csv"
    pairs.write_text("".join(line for line in pairs.read_text().splitlines(True) if S2_NAMES[11] not in line))
    return root


def open_v1(root, s2, **further):
    roots = {"s2": str(s2), "s1": str(root / "s1")}
    return open_source(
        "bigearthnet_v1", SourceInputs(lists_dir=str(root / "lists"), partial_archive=True, **roots, **further)
    )


NO_LABEL = "none of its labels (Airports; Bare rock) belongs to one of the 19 classes"


def test_every_patch_of_bigearthnet_v1_is_counted(v1, tmp_path):
    # Seen are the twelve pairs; pair 11 cannot be known as one.
    exclusions, problems = count(open_v1(v1, v1 / "s2"), tmp_path / "out", 13)
    assert exclusions == {
        "snow": 1, "without S1": 1, "without S2": 1, "on no split list": 2, "S1 on no split list": 1,
    }  # fmt: skip
    assert problems == {S2_NAMES[2]: NO_LABEL}


def test_every_patch_of_bigearthnet_v1_in_a_tar_is_counted(v1, tmp_path):
    # The folder behind the link is not in the tar, so that patch 8 is without its Sentinel-2 image.
    with tarfile.open(tmp_path / "s2.tar", "w") as tar:
        tar.add(v1 / "s2", ".", filter=link)
    exclusions, problems = count(open_v1(v1, tmp_path / "s2.tar"), tmp_path / "out", 14)
    assert exclusions == {
        "snow": 1, "without S1": 1, "without S2": 2, "on no split list": 2, "S1 on no split list": 1,
        "links in the tar": 1,
    }  # fmt: skip
    refused = "is a {} to x in the tar, so that it cannot be read in place"
    assert problems == {
        S2_NAMES[2]: NO_LABEL, S2_NAMES[6]: refused.format("hard link"), S2_NAMES[7]: refused.format("link"),
    }  # fmt: skip


def link(member):
    """Turns a band of patch 6 into a hard link, and the json of patch 7 into a link."""
    for name, kind in (
        (f"{S2_NAMES[6]}_B03.tif", tarfile.LNKTYPE),
        (f"{S2_NAMES[7]}_labels_metadata.json", tarfile.SYMTYPE),
    ):
        if member.name.endswith(name):
            member.type, member.linkname, member.size = kind, "x", 0
    return member


def test_a_patch_without_one_of_the_19_classes_is_taken_on_request(v1, tmp_path):
    for further, labels in (({"exclude": ()}, ()), ({"nomenclature": "43"}, ("Airports", "Bare rock"))):
        source = open_v1(v1, v1 / "s2", **further)
        assert source.read(next(ref for ref in source.refs if ref.patch_id == S2_NAMES[2])).labels == labels


def test_every_patch_of_bigearthnet_v2_is_counted(tmp_path):
    write_tree(tmp_path)
    (tmp_path / "BigEarthNet-S2" / V2_S2_NAMES[2].rsplit("_", 2)[0] / V2_S2_NAMES[2]).rename(tmp_path / "away")
    next((tmp_path / "BigEarthNet-S1").rglob(f"{V2_S1_NAMES[1]}_VV.tif")).unlink()
    table().to_parquet(tmp_path / "metadata.parquet")
    roots = {"s2": str(tmp_path / "BigEarthNet-S2"), "s1": str(tmp_path / "BigEarthNet-S1")}
    inputs = SourceInputs(metadata=str(tmp_path / "metadata.parquet"), partial_archive=True, **roots)
    # Seven pairs, of which one is not in the table, which alone says what is a pair.
    exclusions, problems = count(open_source("bigearthnet_v2", inputs), tmp_path / "out", 8)
    assert exclusions == {
        "snow": 1, "cloud": 1, "without S2": 1, "not in the metadata": 1, "S1 not in the metadata": 1,
    }  # fmt: skip
    assert problems == {V2_S2_NAMES[1]: "the file is missing"}


@pytest.fixture
def eurosat(tmp_path):
    """Images that are files and links, in folders that are folders and links."""
    root = tmp_path / "root"
    for class_name, folder in (("Forest", root), ("River", tmp_path)):
        for number in (1, 2, 3):
            write_image(folder / class_name / f"{class_name}_{number}.tif", pixels_of(f"{class_name}_{number}"))
    (root / "River").symlink_to(tmp_path / "River")
    (root / "Forest" / "Forest_4.tif").symlink_to(tmp_path / "absent")
    (root / "Forest" / "Forest_5.tif").symlink_to(root / "Forest" / "Forest_1.tif")
    (root / "Forest" / "Forest_6.tif").mkdir()
    (root / "Highway").symlink_to(tmp_path / "absent")
    return root


def test_every_patch_of_eurosat_is_counted(eurosat, tmp_path):
    inputs = SourceInputs(input=str(eurosat), partial_archive=True)
    exclusions, problems = count(open_source("eurosat_ms", inputs), tmp_path / "out", 10)
    assert exclusions == {"links that lead nowhere": 1}
    assert problems == {"Forest_4": "the file is missing", "Forest_6": "the file is missing"}


def test_every_patch_of_eurosat_in_a_tar_is_counted(eurosat, tmp_path):
    inputs = SourceInputs(input=str(pack(eurosat, tmp_path / "x.tar")), partial_archive=True)
    exclusions, problems = count(open_source("eurosat_ms", inputs), tmp_path / "out", 8)
    assert exclusions == {"links in the tar": 2}
    assert set(problems) == {"Forest_4", "Forest_5", "Forest_6"}
    assert "is a link to" in problems["Forest_5"]


def test_a_class_without_an_image_is_an_error(eurosat):
    (eurosat / "Pasture").mkdir()
    message = "contains no image of AnnualCrop, .*Highway, Industrial, Pasture, .*--partial_archive"
    with pytest.raises(FileNotFoundError, match=message):
        open_source("eurosat_ms", SourceInputs(input=str(eurosat)))


def test_every_patch_of_sen12ms_is_counted(tmp_path):
    root = tmp_path / "root"
    for patch in ("ROIs1158_spring_1_p30", "ROIs1158_spring_1_p31", "ROIs1868_summer_146_p202"):
        write_triple(root, patch, {1: NUM_PIXELS})
    write_triple(tmp_path, "ROIs1970_fall_3_p5", {12: NUM_PIXELS})
    (root / "ROIs1970_fall").symlink_to(tmp_path / "ROIs1970_fall")
    path_of(root, "ROIs1158_spring_1_p31", "s1").unlink()
    with pytest.raises(FileNotFoundError, match="contains no image of ROIs2017_winter"):
        open_source("sen12ms", SourceInputs(input=str(root)))
    source = open_source("sen12ms", SourceInputs(input=str(root), partial_archive=True))
    exclusions, problems = count(source, tmp_path / "out", 4)
    assert exclusions == {"damaged as published": 1}
    assert problems == {"ROIs1158_spring_1_p31": "the file is missing"}


def test_every_patch_of_int64_records_is_counted(tmp_path):
    (tmp_path / "root").mkdir()
    records = [encode_patch("s2", index, ["Airports"] if index == 1 else ["Pastures"]) for index in range(3)]
    broken = encode_patch("s2", 3, ["Pastures"]).replace(CLASSES_19[4].encode(), b"pastures")
    write_shard(tmp_path / "root" / "train_00.tfrecord", [*records, broken])
    source = open_source("int64_tfrecords", SourceInputs(input=str(tmp_path / "root")))
    exclusions, problems = count(source, tmp_path / "out", 4)
    assert exclusions == {"no_label": 1}
    assert list(problems) == [S2_NAMES[3]]


@pytest.mark.parametrize("what", ["B03.tif", "labels_metadata.json", "folder"])
def test_a_file_without_permission_is_a_problem_with_its_reason(what):
    with ordinary_user() as root:
        write_pair(root, 0, ["Pastures"])
        lists = write_lists(root / "lists", {"train": [0]})
        source = open_source("bigearthnet_v1", SourceInputs(s2=str(root / "s2"), lists_dir=str(lists)))
        folder = root / "s2" / S2_NAMES[0]
        path = folder if what == "folder" else folder / f"{S2_NAMES[0]}_{what}"
        path.chmod(0)
        with pytest.raises(PatchError, match=r"cannot be read \(Permission denied\)") as caught:
            source.read(source.refs[0])
        assert caught.value.file.startswith(str(path)) and "chmod" in caught.value.fix
        path.chmod(0o700)
        assert source.read(source.refs[0]).patch_id == S2_NAMES[0]


@pytest.mark.parametrize("what", ["B03.tif", "labels_metadata.json"])
def test_an_error_of_the_disk_is_a_problem_with_its_reason(tmp_path, what):
    write_pair(tmp_path, 0, ["Pastures"])
    lists = write_lists(tmp_path / "lists", {"train": [0]})
    source = open_source("bigearthnet_v1", SourceInputs(s2=str(tmp_path / "s2"), lists_dir=str(lists)))
    path = tmp_path / "s2" / S2_NAMES[0] / f"{S2_NAMES[0]}_{what}"
    path.unlink()
    path.symlink_to("/proc/self/mem")  # A regular file whose first bytes cannot be read.
    with pytest.raises(PatchError, match=rf"{what}: cannot be read \(Input/output error\).*Check the disk") as caught:
        source.read(source.refs[0])
    assert "Extract" not in caught.value.fix and "split list" not in str(caught.value)


def test_an_image_of_eurosat_without_permission_is_a_problem_with_its_reason():
    with ordinary_user() as root:
        path = root / "Forest" / "Forest_1.tif"
        write_image(path, pixels_of("Forest_1"))
        path.chmod(0)
        source = open_source("eurosat_ms", SourceInputs(input=str(root), partial_archive=True))
        with pytest.raises(PatchError, match=r"Forest_1.tif: cannot be read \(Permission denied\).*chmod"):
            source.read(source.refs[0])
