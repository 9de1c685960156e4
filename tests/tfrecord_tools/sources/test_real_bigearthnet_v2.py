"""The real tables and patches of BigEarthNet v2.0: sizes, names, pixels, and a conversion of a part."""

import numpy as np
import pandas
import pytest
from osgeo import gdal

from bigearth_tf.data.sharded_dataset import ShardedDataset
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.listing.archive import Folder
from tfrecord_tools.listing.patch_lists import official_lists_folder, read_patch_lists
from tfrecord_tools.listing.patch_matching import FoundFolders
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source
from tfrecord_tools.sources.bigearthnet_v2 import list_patches, read_metadata, read_patch


@pytest.fixture(scope="module")
def real(shared_data):
    return shared_data / "bigearthnet_v2"


@pytest.fixture(scope="module")
def real_tables(real):
    names = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
    return [read_metadata([str(real / name)]) for name in names]


def test_the_real_tables_have_the_published_sizes(real_tables):
    main, flagged = real_tables
    assert main["split"].value_counts().to_dict() == {"train": 237871, "val": 122342, "test": 119825}
    assert flagged["split"].value_counts().to_dict() == {"train": 34673, "val": 17235, "test": 17542}
    snow, cloud = "contains_seasonal_snow", "contains_cloud_or_shadow"
    assert not main[[snow, cloud]].any(axis=None)
    assert (len(flagged), flagged[snow].sum(), flagged[cloud].sum()) == (69450, 60773, 8677)
    both = pandas.concat(real_tables)
    assert both["patch_id"].is_unique and both["s1_name"].is_unique
    lists = read_patch_lists(official_lists_folder())
    assert set(both["s2v1_name"]) <= set(lists.s1_of)
    assert (both["s2v1_name"].map(lists.s1_of) == both["s1_name"]).all()
    # At borders the country was assigned anew.
    assert (both["s2v1_name"].map(lists.country_of) != both["country"]).sum() == 467


def test_the_patterns_match_every_real_patch_and_no_tile(real_tables, monkeypatch):
    both = pandas.concat(real_tables, ignore_index=True)
    columns = {"S2": "patch_id", "S1": "s1_name", "MAP": "patch_id"}

    def found(root, folders):
        names, pattern, kind = both[columns[folders.kind]], folders.pattern, folders.kind
        assert names.str.fullmatch(pattern.pattern).all()
        assert not names.str.rsplit("_", n=2 if kind != "S1" else 3).str[0].str.fullmatch(pattern.pattern).any()
        return FoundFolders(kind, root, {name: Folder(root, name) for name in names})

    monkeypatch.setattr("tfrecord_tools.sources.bigearthnet_v2.find_folders", found)
    refs, left_out = list_patches({"S2": "a", "S1": "b", "MAP": "c"}, both, ("snow", "cloud"))
    assert (len(refs), left_out) == (480038, {"snow": 60773, "cloud": 8677})


def test_real_patches_are_read_bit_by_bit(real):
    for sensor, top in {"S2": "BigEarthNet-S2", "S1": "BigEarthNet-S1", "MAP": "Reference_Maps"}.items():
        folders = [path.parent for path in (real / top).rglob("*.tif")]
        for folder in set(folders):
            patch = read_patch(PatchRef("a", "train", (Folder(str(folder.parent), folder.name),)), (sensor,))
            assert len(patch.bands) == folders.count(folder)
            for name, array in patch.bands.items():
                expected = gdal.Open(str(folder / f"{folder.name}_{name}.tif")).ReadAsArray()
                np.testing.assert_array_equal(array, expected, strict=True)
            if sensor == "MAP":
                assert np.unique(patch.bands["reference_map"]).tolist() == [211, 231, 311, 313]


@pytest.mark.parametrize("every", [40, pytest.param(1, marks=pytest.mark.full)])
def test_real_patches_in_a_tar_are_those_that_gdal_reads(shared_data, every):
    folder = shared_data / "bigearthnet_v2_real"
    tar = folder / "BigEarthNet-S2.tar"
    inputs = SourceInputs(s2=str(tar), metadata=str(folder / "metadata.parquet"))
    source = open_source("bigearthnet_v2", inputs)
    assert (len(source.refs), source.exclusions) == (401, {})
    for ref in source.refs[::every]:
        patch, again = source.read(ref), source.read(ref, gdal_only=True)
        tile = ref.patch_id.rsplit("_", 2)[0]
        for name, array in patch.bands.items():
            path = f"/vsitar/{tar}/BigEarthNet-S2/{tile}/{ref.patch_id}/{ref.patch_id}_{name}.tif"
            np.testing.assert_array_equal(array, gdal.Open(path).ReadAsArray(), strict=True)
            np.testing.assert_array_equal(array, again.bands[name], strict=True)


def open_in_part(real, what):
    tops = {"s2": "BigEarthNet-S2", "s1": "BigEarthNet-S1", "maps": "Reference_Maps"}
    roots = {name: str(real / tops[name]) for name in what}
    inputs = SourceInputs(metadata=str(real / "metadata.parquet"), partial_archive=True, **roots)
    return open_source("bigearthnet_v2", inputs)


@pytest.mark.parametrize("what", [("s2",), ("s1",), ("s2", "maps")])
def test_the_real_archive_in_part(real, tmp_path, what):
    if "maps" in what:
        # The one real map is of another patch than the one real image.
        with pytest.raises(FileNotFoundError, match="480038 of 480038 .*Name the archive to which these lists belong"):
            open_in_part(real, what)
        return
    source = open_in_part(real, what)
    manifest = convert(source, tmp_path / "out", ConversionOptions())
    assert sum(shard.num_records for shard in manifest.shards) == 1
    assert manifest.exclusions == {"not in the folder": 480037}
    assert verify(ShardedDataset(tmp_path / "out", manifest)) == []
