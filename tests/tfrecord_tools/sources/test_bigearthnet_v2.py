"""BigEarthNet v2.0: the tables decide what is converted, and every layout gives the same bytes."""

import tarfile

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import BANDS, S1, S2_ALL
from bigearth_tf.data.datasets.bigearthnet_v2 import REFERENCE_MAP, SPEC
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.data.record_schema import parse_examples
from bigearth_tf.data.sharded_dataset import ShardedDataset
from tests.support.archives import constant_pixels
from tests.support.bigearthnet_v2 import (
    LABELS,
    PRODUCT,
    S1_NAMES,
    S2_NAMES,
    TILE,
    pixels_of,
    table,
    write_folder,
    write_tree,
)
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.listing.archive import Folder
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source
from tfrecord_tools.sources.bigearthnet_v2 import read_metadata, read_patch


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    write_tree(root)
    table().to_parquet(root / "metadata.parquet")
    return root


def inputs_of(root, what=("s2", "s1", "maps"), ending="", metadata=None, **further):
    tops = {"s2": "BigEarthNet-S2", "s1": "BigEarthNet-S1", "maps": "Reference_Maps"}
    roots = {name: str(root / (tops[name] + ending)) for name in what}
    return SourceInputs(metadata=str(metadata or root / "metadata.parquet"), **roots, **further)


def open_v2(root, *what, **further):
    return open_source("bigearthnet_v2", inputs_of(root, *what, **further))


def shards_of(source, folder):
    convert(source, folder, ConversionOptions(num_shards=2))
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")}


@pytest.fixture(scope="module")
def records(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "all"
    return folder, convert(open_v2(archive), folder, ConversionOptions(num_shards=2))


def test_every_pixel_label_and_attribute_arrives(records):
    folder, manifest = records
    assert verify(ShardedDataset(folder, manifest)) == []
    assert [band.name for band in manifest.bands] == [*S2_ALL, *S1, "reference_map"]
    assert manifest.bands[-1] == REFERENCE_MAP
    assert (manifest.class_names, manifest.licence) == (CLASSES_19, "CDLA-Permissive-1.0")
    not_listed = {"not in the metadata": 1, "S1 not in the metadata": 1, "MAP not in the metadata": 1}
    assert manifest.exclusions == {"snow": 1, "cloud": 1, **not_listed}
    seen = {}
    for shard in manifest.shards:
        for record in tf.data.TFRecordDataset(str(folder / shard.name)).as_numpy_iterator():
            row = parse_examples(tf.constant([record]), manifest.bands, 19)
            index = S2_NAMES.index(row["patch_id"][0].numpy().decode())
            seen[index] = shard.split
            for band in manifest.bands:
                stored = row["bands"][band.name][0].numpy()
                np.testing.assert_array_equal(stored, pixels_of(index, band.name), strict=True)
            assert {CLASSES_19[i] for i in np.flatnonzero(row["labels"][0])} == set(LABELS[index % 3])
            feature = tf.train.Example.FromString(record).features.feature
            assert feature["country"].bytes_list.value[0].decode() == ("Austria" if index % 2 else "Kosovo")
            assert feature["s2v1_name"].bytes_list.value[0].decode() == f"S2A_MSIL2A_20170613T101031_{index}_57"
    assert seen == {0: "train", 1: "train", 2: "val", 3: "test"}


def test_no_band_is_swapped(tmp_path):
    write_folder(tmp_path / S2_NAMES[0], {name: constant_pixels(BANDS[name]) for name in S2_ALL}, ".tif")
    patch = read_patch(PatchRef("a", "train", (Folder(str(tmp_path), S2_NAMES[0]),)), ("S2",))
    for name, array in patch.bands.items():
        np.testing.assert_array_equal(array, constant_pixels(BANDS[name]))


@pytest.mark.parametrize("layout", ["flat", "tiff", "tar"])
def test_every_layout_gives_the_same_bytes(archive, records, tmp_path, layout):
    ending = ""
    if layout == "tar":
        ending = ".tar"
        for top in ("BigEarthNet-S2", "BigEarthNet-S1", "Reference_Maps"):
            with tarfile.open(tmp_path / f"{top}.tar", "w") as tar:
                tar.add(archive / top, top)
    else:
        write_tree(tmp_path, tiles=layout != "flat", suffix=".tiff" if layout == "tiff" else ".tif")
    source = open_v2(tmp_path, ending=ending, metadata=archive / "metadata.parquet")
    expected = {path.name: path.read_bytes() for path in records[0].glob("*.tfrecord")}
    assert len(expected) == 4
    assert shards_of(source, tmp_path / "out") == expected


def test_the_order_of_the_table_does_not_matter(archive, records, tmp_path):
    table().iloc[::-1].to_parquet(tmp_path / "reversed.parquet")
    expected = {path.name: path.read_bytes() for path in records[0].glob("*.tfrecord")}
    assert shards_of(open_v2(archive, metadata=tmp_path / "reversed.parquet"), tmp_path / "out") == expected


@pytest.mark.parametrize("what", [("s2",), ("s1",), ("s2", "s1"), ("s1", "maps")])
def test_sensors_are_joined_by_the_table(archive, what):
    source = open_v2(archive, what)
    assert [ref.patch_id for ref in source.refs] == (S2_NAMES if what[0] == "s2" else S1_NAMES)[:4]
    assert [ref.split for ref in source.refs] == ["train", "train", "val", "test"]
    assert source.refs[2].labels == ("Urban fabric", "Mixed forest", "Inland waters")
    patch = source.read(source.refs[1])
    assert list(patch.bands) == [band.name for band in source.bands]
    for name, array in patch.bands.items():
        np.testing.assert_array_equal(array, pixels_of(1, name))


@pytest.mark.parametrize(
    "exclude, left_out, taken",
    [
        (None, {"snow": 1, "cloud": 1}, [0, 1, 2, 3]),
        (("snow",), {"snow": 1}, [0, 1, 2, 3, 5]),
        ((), {}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_exclusions_are_counted_or_switched_off(archive, exclude, left_out, taken):
    source = open_v2(archive, ("s2",), exclude=exclude)
    assert source.exclusions == {**left_out, "not in the metadata": 1}
    assert [ref.patch_id for ref in source.refs] == [S2_NAMES[index] for index in taken]


def test_two_tables_give_what_one_gives(archive, records, tmp_path):
    table(range(4)).to_parquet(tmp_path / "metadata.parquet")
    table([4, 5]).to_parquet(tmp_path / "flagged.parquet")
    assert open_v2(archive, metadata=tmp_path / "metadata.parquet").exclusions == {
        f"{kind}not in the metadata": 3 for kind in ("", "S1 ", "MAP ")
    }
    both = f"{tmp_path / 'metadata.parquet'},{tmp_path / 'flagged.parquet'}"
    source = open_v2(archive, metadata=both)
    assert source.exclusions == records[1].exclusions
    assert source.refs == open_v2(archive).refs


def test_a_missing_patch_is_an_error_unless_the_archive_is_partial(archive, tmp_path):
    write_tree(tmp_path, indices=[0, 1, 2, 3])
    missing = tmp_path / "BigEarthNet-S1" / PRODUCT / S1_NAMES[2]
    missing.rename(tmp_path / "elsewhere")
    given = {"metadata": archive / "metadata.parquet"}
    message = f"1 of 4 listed patches.*first is {S2_NAMES[2]}.*-S1 has no folder {S1_NAMES[2]}.*--partial_archive"
    with pytest.raises(FileNotFoundError, match=message):
        open_v2(tmp_path, **given)
    source = open_v2(tmp_path, **given, partial_archive=True)
    assert (len(source.refs), source.exclusions) == (3, {"without S1": 1})
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no S2 patches found, folders such as {TILE}"):
        open_source("bigearthnet_v2", SourceInputs(s2=str(tmp_path / "empty"), metadata=str(given["metadata"])))


def tif(root, top, name):
    return next((root / top).rglob(f"*_{name}.tif"))


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda root: tif(root, "BigEarthNet-S2", "B8A").unlink(), "B8A.tif: the file is missing"),
        (lambda root: tif(root, "BigEarthNet-S1", "VH").write_bytes(b"II"), "VH.tif: cannot be read"),
        (
            lambda root: tif(root, "Reference_Maps", "reference_map").write_bytes(
                tif(root, "BigEarthNet-S2", "B05").read_bytes()
            ),
            "reference_map.tif: has 1 band.*60 x 60 px.*expected band reference_map as 1 band.*120 x 120 px, uint16",
        ),
    ],
)
def test_a_broken_file_ends_the_conversion_and_is_named(archive, tmp_path, damage, problem):
    write_tree(tmp_path, indices=[0])
    table([0]).to_parquet(tmp_path / "metadata.parquet")
    damage(tmp_path)
    with pytest.raises(ValueError, match=problem):
        convert(open_v2(tmp_path), tmp_path / "out", ConversionOptions())


def replaced(column, value):
    return table().assign(**{column: [value, *table()[column].tolist()[1:]]})


WRONG = {
    "a column is missing": (
        table().drop(columns=["s1_name", "split"]),
        "has no column s1_name, split; expected a row",
    ),
    "no rows": (table([]), "has no rows"),
    "unknown label": (replaced("labels", ["Vineyards"]), f"{S2_NAMES[0]}: Unknown label 'Vineyards'"),
    "label twice": (replaced("labels", ["Pastures", "Pastures"]), "given twice"),
    "no labels": (replaced("labels", []), "expected a list of class names"),
    "labels are null": (replaced("labels", None), "labels are None; expected a list of class names"),
    "labels as text": (table().assign(labels="Pastures"), "labels are 'Pastures'; expected a list"),
    "unknown split": (replaced("split", "val"), "split 'val' is unknown; expected train, validation, test"),
    "patch twice": (replaced("patch_id", S2_NAMES[3]), f"patch_id {S2_NAMES[3]} is in two rows"),
    "counterpart twice": (replaced("s1_name", S1_NAMES[3]), f"s1_name {S1_NAMES[3]} is in two rows"),
    "a name is null": (replaced("s2v1_name", None), "column s2v1_name is null in part; expected string"),
    "names are numbers": (table().assign(patch_id=range(6)), "column patch_id is integer; expected string"),
    "flags as text": (table().assign(contains_seasonal_snow="False"), "snow is string; expected boolean"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_table_is_named_with_what_was_expected(tmp_path, kind):
    frame, message = WRONG[kind]
    path = tmp_path / "wrong.parquet"
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=rf"wrong\.parquet: .*{message}"):
        read_metadata([str(path)])


def test_a_file_that_is_not_a_table_is_named(tmp_path):
    path = tmp_path / "metadata.parquet"
    table().to_parquet(path)
    whole = path.read_bytes()
    for content in (b"", b"patch_id,labels\n", whole[:-9], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"metadata\.parquet: cannot be read .*zenodo"):
            read_metadata([str(path)])
    with pytest.raises(FileNotFoundError, match=r"absent\.parquet: the file is missing"):
        read_metadata([str(tmp_path / "absent.parquet")])


def test_wrong_inputs_are_refused(archive):
    with pytest.raises(ValueError, match="missing: --metadata"):
        open_source("bigearthnet_v2", SourceInputs(s2="x"))
    with pytest.raises(ValueError, match="--s2, --s1, or both"):
        open_v2(archive, ("maps",))
    with pytest.raises(ValueError, match=r"--exclude=no_label: unknown; allowed are snow, cloud"):
        open_v2(archive, exclude=("snow", "no_label"))


def test_the_spec_has_the_rows_of_all_bands():
    assert [band.name for band in SPEC.bands] == [*S2_ALL, *S1, "reference_map"]
    for band in SPEC.bands[:-1]:
        row = BANDS[band.name]
        assert (band.size_px, band.dtype, band.unit) == (row.size_px, row.dtype, row.unit)
        # The same places, processed again: close to v1, not equal.
        assert 0 < abs(band.mean / row.mean - 1) < 0.07
        assert 0 < abs(band.std / row.std - 1) < 0.1
