"""The files that tests write have the form of the real ones: type, bands, sizes, no data, strips and compression."""

import json
import shutil

import numpy as np

from bigearth_tf.data.bands import BANDS
from tests.support.archives import S1_NAMES, S2_NAMES, write_pair
from tests.support.bigearthnet_v2 import write_tree
from tests.support.eurosat_ms import pixels_of as eurosat_pixels
from tests.support.geotiffs import describe_image, write_image
from tests.support.records import read_all
from tests.support.sen12ms import NUM_PIXELS, path_of, write_triple
from tests.support.sen12ms import pixels_of as sen12ms_pixels
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source
from tfrecord_tools.synthetic.synthetic_patches import synthesize_archive

SEN12MS_PATCH = "ROIs1158_spring_1_p30"


def forms(paths, kind_of):
    """Returns kind of file -> the forms that its files have."""
    found = {}
    for path in paths:
        found.setdefault(kind_of(path), set()).add(describe_image(path))
    assert found
    return found


def last_part(path):
    return path.stem.removesuffix("_map").rsplit("_", 1)[1]


def test_the_files_of_bigearthnet_v1_have_the_form_of_the_real_ones(shared_data, tmp_path):
    write_pair(tmp_path, 0, ["Pastures"])
    real = shared_data / "bigearthnet_v1"
    for name, ours in (("BigEarthNet-v1.0", S2_NAMES[0]), ("BigEarthNet-S1-v1.0", S1_NAMES[0])):
        assert forms(tmp_path.rglob(f"{ours}_*.tif"), last_part) == forms((real / name).rglob("*.tif"), last_part)


def test_the_labels_of_bigearthnet_v1_have_the_keys_of_the_real_ones(shared_data, tmp_path):
    write_pair(tmp_path, 0, ["Pastures"])
    synthesize_archive(str(tmp_path / "synthetic"), 1, 0, with_s1=True)
    real = shared_data / "bigearthnet_v1"
    for name, ours in (("BigEarthNet-v1.0", S2_NAMES[0]), ("BigEarthNet-S1-v1.0", S1_NAMES[0])):
        expected = [types_of(path) for path in (real / name).rglob("*.json")]
        assert len(expected) == 9 and expected == expected[:1] * 9
        (written,) = map(types_of, tmp_path.rglob(f"{ours}_labels_metadata.json"))
        assert written.items() <= expected[0].items()
        (synthetic,) = map(types_of, (tmp_path / "synthetic" / name).rglob("*.json"))
        assert synthetic == expected[0]


def types_of(path):
    """Returns key -> type of a JSON object."""
    return {key: type(value).__name__ for key, value in json.loads(path.read_text()).items()}


def test_the_files_of_bigearthnet_v2_have_the_form_of_the_real_ones(shared_data, tmp_path):
    write_tree(tmp_path, indices=[0])
    real = shared_data / "bigearthnet_v2"
    assert len(forms(tmp_path.rglob("*.tif"), last_part)) == len(BANDS) + 1
    for top in ("BigEarthNet-S2", "BigEarthNet-S1", "Reference_Maps"):
        assert forms((tmp_path / top).rglob("*.tif"), last_part) == forms((real / top).rglob("*.tif"), last_part)
    parts = {
        path.relative_to(folder).parts[:-2][0] for folder in (real, tmp_path) for path in folder.rglob("*_B02.tif")
    }
    assert parts == {"BigEarthNet-S2"}


def test_the_files_of_eurosat_have_the_form_of_the_real_ones(shared_data, tmp_path):
    write_image(tmp_path / "Forest_1.tif", eurosat_pixels("Forest_1"))
    real = forms((shared_data / "eurosat_ms").glob("*/*.tif"), lambda path: "")
    assert real == {"": {describe_image(tmp_path / "Forest_1.tif")}}


def test_the_files_of_sen12ms_have_the_form_of_the_real_ones(shared_data, tmp_path):
    write_triple(tmp_path, SEN12MS_PATCH, {1: NUM_PIXELS})
    real = sorted((shared_data / "sen12ms_real").rglob("*.tif"))
    assert [path.parent.name for path in real] == ["lc_1", "s1_1"]
    for path in real:
        ours = path_of(tmp_path, SEN12MS_PATCH, path.parent.name.split("_")[0])
        assert ours.relative_to(tmp_path) == path.relative_to(shared_data / "sen12ms_real")
        assert describe_image(ours) == describe_image(path)


def test_the_real_files_of_sen12ms_are_converted(shared_data, tmp_path):
    root = shutil.copytree(shared_data / "sen12ms_real", tmp_path / "root", ignore=shutil.ignore_patterns("*.md"))
    write_image(path_of(root, SEN12MS_PATCH, "s2"), sen12ms_pixels(SEN12MS_PATCH, "s2"))
    source = open_source("sen12ms", SourceInputs(input=str(root), label_kind="multi", partial_archive=True))
    manifest = convert(source, tmp_path / "out", ConversionOptions())
    ((_, pixels, labels),) = read_all(tmp_path / "out", manifest).values()
    igbp = gdal_pixels(path_of(root, SEN12MS_PATCH, "lc"))[0]
    shares = {value: np.mean(igbp == value) for value in np.unique(igbp)}
    # 4 and 5 are forests, 8 and 9 savannas.
    assert labels == [name for name, share in (
        ("Forest", shares[4] + shares[5]), ("Savanna", shares[8] + shares[9])) if share >= 0.1]  # fmt: skip
    for name, array in zip(("VV", "VH"), gdal_pixels(path_of(root, SEN12MS_PATCH, "s1"))):
        np.testing.assert_array_equal(pixels[name], array, strict=True)


def gdal_pixels(path):
    from osgeo import gdal

    return gdal.Open(str(path)).ReadAsArray()


def test_every_name_on_the_test_list_of_sen12ms_is_known(shared_data, tmp_path):
    names = (shared_data / "sen12ms_lists" / "test_list.txt").read_text().split()
    assert len(names) == 18106
    names = [name for index, name in enumerate(names) if index % 50 == 0 or "_p0." in name]
    for name in names:
        for part in ("s1", "s2", "lc"):
            path = tmp_path / name.replace("_s2_", f"_{part}_")
            path.touch()
    source = open_source("sen12ms", SourceInputs(input=str(tmp_path)))
    assert {ref.patch_id for ref in source.refs} == {name[: -len(".tif")].replace("_s2_", "_") for name in names}
