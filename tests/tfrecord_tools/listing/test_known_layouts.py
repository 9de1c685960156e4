"""Data that a source does not take are recognized, and the message names the flags or the step that fit."""

import os
import re
import shlex
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support.archives import S1_NAMES, S2_NAMES, write_lists, write_pair
from tests.support.bigearthnet_v2 import table, write_tree
from tests.support.eurosat_ms import pixels_of
from tests.support.geotiffs import write_image
from tests.support.sen12ms import NUM_PIXELS, write_triple
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """One patch of each data set, and other forms in which people have them."""
    root = tmp_path_factory.mktemp("roots")
    write_pair(root / "v1", 0, ["Pastures"])
    write_lists(root / "lists", {"train": [0]})
    write_tree(root / "v2", indices=[0])
    table([0]).to_parquet(root / "metadata.parquet")
    write_image(root / "eurosat" / "Forest" / "Forest_1.tif", pixels_of("Forest_1"))
    write_triple(root / "sen12ms", "ROIs1158_spring_1_p30", {1: NUM_PIXELS})
    for name in (
        "int64/train_00.tfrecord",
        "converted/train-00000-of-00001.tfrecord",
        f"mlhub/bigearthnet_v1_source_{S2_NAMES[0]}/B01.tif",
        "rgb/2750/Forest/Forest_1.jpg",
        "notes/read me.txt",
    ):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(b"")
    (root / "empty").mkdir()
    (root / "holds_tar").mkdir()
    with tarfile.open(root / "holds_tar" / "BigEarthNet S2.tar", "w") as tar:
        tar.add(root / "v1" / "s2", "s2")
    (root / "holds_zip").mkdir()
    with zipfile.ZipFile(root / "holds_zip" / "EuroSAT.zip", "w") as file:
        file.writestr("a", "")
    return root


# Root -> what the message says of it, with the flags that take it: "{root}" is the root itself.
SAID = {
    "v1/s2": (f"Sentinel-2 patches of BigEarthNet v1.0, such as {S2_NAMES[0]}", "--source=bigearthnet_v1 --s2={root}"),
    "v1/s1": (f"Sentinel-1 patches of BigEarthNet, such as {S1_NAMES[0]}", "--source=bigearthnet_v[12] .*--s1={root}"),
    "v2/BigEarthNet-S2": (
        "Sentinel-2 patches of BigEarthNet v2.0",
        "--source=bigearthnet_v2 --metadata=metadata.parquet --s2={root}",
    ),
    "v2/Reference_Maps": (
        "reference maps of BigEarthNet v2.0",
        "--source=bigearthnet_v2 --metadata=metadata.parquet --maps={root}",
    ),
    "eurosat": ("multispectral images of EuroSAT, such as Forest/Forest_1.tif", "--source=eurosat_ms --input={root}"),
    "sen12ms": ("patches of SEN12MS", "--source=sen12ms --input={root}"),
    "int64": ("int64 TFRecords of BigEarthNet-19", "--source=int64_tfrecords --input={root}"),
    "converted": ("records that are converted already", "--data_dir"),
    "mlhub": ("the layout of Radiant MLHub", "https://bigearth.net"),
    "rgb": ("color pictures of EuroSAT, which have 3 of the 13 bands", "multispectral images"),
    "holds_tar": (
        "a tar, such as BigEarthNet S2.tar",
        "name the tar itself, --(s1|s2|maps|input)='.*/BigEarthNet S2.tar'",
    ),
    "holds_zip": ("a packed archive, such as EuroSAT.zip", "unzip -q .*EuroSAT.zip -d .*EuroSAT"),
    "notes": ("It contains read me.txt", ""),
    "empty": ("It is empty", ""),
}
# Source and flag -> roots that it takes.
OWN = {
    ("bigearthnet_v1", "s2"): {"v1/s2"},
    ("bigearthnet_v1", "s1"): {"v1/s1", "v2/BigEarthNet-S1"},
    ("bigearthnet_v2", "s2"): {"v2/BigEarthNet-S2"},
    ("bigearthnet_v2", "s1"): {"v1/s1", "v2/BigEarthNet-S1"},
    ("bigearthnet_v2", "maps"): {"v2/Reference_Maps"},
    ("eurosat_ms", "input"): {"eurosat"},
    ("sen12ms", "input"): {"sen12ms"},
    ("int64_tfrecords", "input"): {"int64"},
}


def open_root(roots, source, flag, root):
    further = {}
    if source == "bigearthnet_v1":
        further["lists_dir"] = str(roots / "lists")
    if source == "bigearthnet_v2":
        further["metadata"] = str(roots / "metadata.parquet")
        if flag == "maps":
            further["s2"] = str(roots / "v2" / "BigEarthNet-S2")
    return open_source(source, SourceInputs(**{flag: str(root)}, **further))


@pytest.mark.parametrize(("source", "flag"), OWN)
def test_data_of_another_source_or_flag_are_named_with_the_flags_that_take_them(roots, source, flag):
    for name in SAID.keys() - OWN[source, flag]:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            open_root(roots, source, flag, roots / name)
        what, advice = SAID[name]
        assert what in str(caught.value)
        assert re.search(advice.replace("{root}", re.escape(str(roots / name))), str(caught.value)), caught.value


@pytest.mark.parametrize("name", ["eurosat", "sen12ms", "int64"])
def test_data_under_a_flag_that_the_source_does_not_take_are_recognized(roots, name):
    what, advice = SAID[name]
    pattern = f"not taken: --input. {roots / name}: It contains {what}.*{advice.replace('{root}', str(roots / name))}"
    with pytest.raises(ValueError, match=pattern):
        open_source("bigearthnet_v1", SourceInputs(input=str(roots / name)))


def test_a_tar_of_other_data_is_named_too(roots, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(roots / "eurosat", ".")
    with pytest.raises(FileNotFoundError, match="multispectral images of EuroSAT.*--source=eurosat_ms --input="):
        open_root(roots, "bigearthnet_v1", "s2", tmp_path / "x.tar")
    with pytest.raises(FileNotFoundError, match="x.tar: is a file; name the folder of the shards"):
        open_root(roots, "int64_tfrecords", "input", tmp_path / "x.tar")


@pytest.mark.parametrize("ending", [".TIF", ".tiff", ".Tiff"])
def test_other_endings_are_named_with_the_command_that_renames_the_files(roots, tmp_path, ending):
    for name, source, flag in (
        ("v1/s2", "bigearthnet_v1", "s2"),
        ("eurosat", "eurosat_ms", "input"),
        ("sen12ms", "sen12ms", "input"),
        ("v2/BigEarthNet-S2", "bigearthnet_v2", "s2"),
    ):
        root = shutil.copytree(roots / name, tmp_path / "a folder's" / name)
        for path in list(root.rglob("*.tif")):
            path.rename(path.with_suffix(ending))
        if (source, ending) == ("bigearthnet_v2", ".tiff"):
            assert len(open_root(roots, source, flag, root).refs) == 1  # The only source that takes both.
            continue
        with pytest.raises(ValueError, match="the files must end in .tif: ") as caught:
            open_root(roots, source, flag, root)
        command = str(caught.value).split("must end in .tif: ")[1]
        assert shlex.split(command)[:4] == ["find", str(root), "-name", f"*{ending}"]
        subprocess.run(command, shell=True, check=True)
        assert sorted(path.name for path in root.rglob("*.tif")) == sorted(
            p.name for p in (roots / name).rglob("*.tif")
        )


def test_one_file_of_another_ending_is_named(roots, tmp_path):
    root = shutil.copytree(roots / "v1" / "s2", tmp_path / "s2")
    path = root / S2_NAMES[0] / f"{S2_NAMES[0]}_B03.tif"
    path.rename(path.with_suffix(".TIF"))
    source = open_root(roots, "bigearthnet_v1", "s2", root)
    with pytest.raises(
        ValueError, match=r"B03.tif: the file is missing, but .*_B03.TIF is there; .* Rename .*B03.TIF to"
    ):
        source.read(source.refs[0])


def test_a_folder_whose_name_is_not_utf_8_is_read(roots, tmp_path):
    root = shutil.copytree(roots / "v1" / "s2", os.path.join(tmp_path, os.fsdecode(b"\xe9t\xe9")))
    source = open_root(roots, "bigearthnet_v1", "s2", root)
    assert source.read(source.refs[0], gdal_only=True).patch_id == S2_NAMES[0]
    os.unlink(os.path.join(root, S2_NAMES[0], f"{S2_NAMES[0]}_B03.tif"))
    with pytest.raises(ValueError, match=r"/\\xe9t\\xe9/.*_B03.tif: the file is missing") as caught:
        source.read(source.refs[0])
    caught.value.file.encode()
    # TensorFlow opens no such name, which is said at once, and a link is enough.
    shutil.copytree(roots / "v1" / "s2", os.path.join(tmp_path, "whole"))
    source = open_root(roots, "bigearthnet_v1", "s2", tmp_path / "whole")
    out = Path(tmp_path, os.fsdecode(b"\xe9"))
    message = "the name is not UTF-8, so that TensorFlow cannot open it.*a link to it"
    with pytest.raises(ValueError, match=message):
        convert(source, out, ConversionOptions())
    assert not out.exists()
    out.mkdir()
    (tmp_path / "link").symlink_to(out)
    convert(source, tmp_path / "link", ConversionOptions())
    assert ShardedDataset.open(tmp_path / "link").num_records("train") == 1
    with pytest.raises(ValueError, match=message):
        ShardedDataset.open(out)
    with pytest.raises(ValueError, match=message):
        open_root(roots, "int64_tfrecords", "input", out)
