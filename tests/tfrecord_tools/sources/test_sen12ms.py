"""SEN12MS: triples are read bit by bit, with the labels of the benchmark, and scenes stay in one split."""

import dataclasses
import shutil
import tarfile

import numpy as np
import pytest
from osgeo import gdal

from bigearth_tf.data.datasets import get_dataset
from bigearth_tf.data.datasets.sen12ms import CLASS_NAMES, IGBP_VALUES
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.models.registry import create_model
from tests.support.geotiffs import write_image
from tests.support.records import read_all
from tests.support.sen12ms import NUM_PIXELS, map_of, path_of, pixels_of, write_triple
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source
from tfrecord_tools.sources.sen12ms import choose_labels

gdal.UseExceptions()

# Written out: the order in a file must not come from the code under test.
S2_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
S1_ORDER = ("VV", "VH")

# Pixels of each value of IGBP in a map, and the labels that follow, computed by hand. A tenth is 6,553.6 px.
MAPS = {
    "forest of several kinds": ({1: 15000, 2: 15000, 5: 3000, 12: 32536}, ["Forest"], ["Forest", "Croplands"]),
    "croplands and mosaic": ({10: 25000, 12: 20000, 14: 20536}, ["Croplands"], ["Grassland", "Croplands"]),
    "savanna stays": ({8: 20000, 9: 20000, 6: 25536}, ["Savanna"], ["Shrubland", "Savanna"]),
    "just below a tenth": ({17: NUM_PIXELS - 6553, 11: 6553}, ["Water"], ["Water"]),
    "just above a tenth": ({17: NUM_PIXELS - 6554, 11: 6554}, ["Water"], ["Wetlands", "Water"]),
    "snow on bare ground": ({13: 6000, 15: 44000, 16: 15536}, ["Snow/Ice"], ["Snow/Ice", "Barren"]),
    "town": ({13: 65530, 3: 6}, ["Urban/Built-up"], ["Urban/Built-up"]),
    "a draw": ({7: 32768, 4: 32768}, ["Forest"], ["Forest", "Shrubland"]),
}  # fmt: skip
SCENES = ("ROIs1158_spring_1", "ROIs1158_spring_40", "ROIs1158_spring_7", "ROIs1868_summer_1", "ROIs2017_winter_102")
# Patch id -> the map that it has.
PATCHES = {
    f"{scene}_p{number}": list(MAPS)[(index * 2 + offset) % len(MAPS)]
    for index, scene in enumerate(SCENES)
    for offset, number in enumerate((0, 301))
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("sen12ms") / "SEN12MS"
    for patch_id, name in PATCHES.items():
        write_triple(root, patch_id, MAPS[name][0])
    return root


@pytest.fixture
def small_tree(tmp_path):
    """One patch, to be damaged."""
    root = tmp_path / "small"
    write_triple(root, "ROIs1970_fall_3_p5", {12: NUM_PIXELS})
    return root


def run(root, output_dir, label_kind=None, **options):
    source = open_source("sen12ms", SourceInputs(input=str(root), label_kind=label_kind, partial_archive=True))
    return convert(source, output_dir, ConversionOptions(num_shards=1, **options))


@pytest.fixture(scope="module")
def records(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    run(tree, folder / "single")
    run(tree, folder / "multi", LabelKind.MULTI)
    return folder


def test_the_classes_are_those_of_the_benchmark():
    assert CLASS_NAMES == ("Forest", "Shrubland", "Savanna", "Grassland", "Wetlands", "Croplands", "Urban/Built-up",
                           "Snow/Ice", "Barren", "Water")  # fmt: skip
    index_of = {value: index for index, values in enumerate(IGBP_VALUES.values()) for value in values}
    # The table of https://github.com/lukasliebel/dfc2020_baseline, code/datasets.py, counted from 0.
    assert [index_of[value] for value in range(1, 18)] == [0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 5, 7, 8, 9]


@pytest.mark.parametrize("label_kind", [LabelKind.SINGLE, LabelKind.MULTI])
def test_every_pixel_and_label_arrives(records, label_kind):
    manifest = read_manifest(records / label_kind)
    assert (manifest.dataset, manifest.label_kind, manifest.licence) == ("sen12ms", label_kind, "CC-BY-4.0")
    assert manifest.class_names == CLASS_NAMES and manifest.bands == get_dataset("sen12ms").bands
    assert tuple(band.name for band in manifest.bands) == S2_ORDER + S1_ORDER
    assert {(band.size_px, band.resolution_m, band.mean) for band in manifest.bands} == {(256, 10, None)}
    assert verify(ShardedDataset(records / label_kind, manifest)) == []
    found = read_all(records / label_kind, manifest)
    assert set(found) == set(PATCHES)
    for patch_id, (_, pixels, labels) in found.items():
        assert labels == MAPS[PATCHES[patch_id]][1 if label_kind is LabelKind.SINGLE else 2]
        for part, order in (("s2", S2_ORDER), ("s1", S1_ORDER)):
            for name, expected in zip(order, pixels_of(patch_id, part)):
                np.testing.assert_array_equal(pixels[name], expected)
                assert pixels[name].dtype == expected.dtype
    total = np.sum([manifest.class_counts(split) for split in manifest.splits], axis=0)
    labels = [label for name in PATCHES.values() for label in MAPS[name][1 if label_kind is LabelKind.SINGLE else 2]]
    assert list(total) == [labels.count(name) for name in CLASS_NAMES]


@pytest.mark.parametrize("name", MAPS)
def test_labels_follow_from_the_shares_of_pixels(name):
    counts, single, multi = MAPS[name]
    assert sum(counts.values()) == NUM_PIXELS
    of_class = np.array([sum(counts.get(value, 0) for value in values) for values in IGBP_VALUES.values()])
    assert list(choose_labels(of_class, LabelKind.SINGLE)) == single
    assert list(choose_labels(of_class, LabelKind.MULTI)) == multi


def test_exactly_a_tenth_gives_a_label():
    assert choose_labels(np.array([10] * 10), LabelKind.MULTI) == CLASS_NAMES
    assert choose_labels(np.array([91, 9] + [0] * 8), LabelKind.MULTI) == ("Forest",)


def test_a_scene_is_in_one_split_and_a_season_in_as_many_as_possible(records):
    split_of = {}
    for patch_id, (split, *_) in read_all(records / "single", read_manifest(records / "single")).items():
        assert split_of.setdefault(patch_id.rsplit("_", 1)[0], split) == split
    assert sorted(split_of[scene] for scene in SCENES[:3]) == ["test", "train", "val"]
    assert split_of["ROIs1868_summer_1"] == split_of["ROIs2017_winter_102"] == "train"


def test_a_tar_gives_the_bytes_of_the_folder(tree, records, tmp_path):
    with tarfile.open(tmp_path / "sen12ms.tar", "w") as tar:
        tar.add(tree, ".")
    run(tmp_path / "sen12ms.tar", tmp_path / "out")
    written = [{path.name: path.read_bytes() for path in f.iterdir()} for f in (tmp_path / "out", records / "single")]
    assert written[0] == written[1]


def test_the_label_kind_belongs_to_the_data_set(tree, records):
    with pytest.raises(ValueError, match="label_kind: single there, multi here"):
        run(tree, records / "single", "multi")
    with pytest.raises(ValueError, match="--label_kind=both: unknown; allowed are single, multi"):
        open_source("sen12ms", SourceInputs(input=str(tree), label_kind="both"))


@pytest.mark.parametrize("part", ["s1", "s2", "lc"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_member_of_a_triple_is_named(small_tree, tmp_path, part, packed):
    root, broken = small_tree, "ROIs1970_fall_3_p6"
    write_triple(root, broken, {1: NUM_PIXELS})
    path_of(root, broken, part).unlink()
    if packed:
        root = tmp_path / "small.tar"
        with tarfile.open(root, "w") as tar:
            tar.add(small_tree, ".")
    with pytest.raises(
        ValueError, match=rf"1 of \d+ patches is broken.*ROIs1970_fall_{part}_3_p6.tif: the file is missing"
    ):
        run(root, tmp_path / "out")
    manifest = run(root, tmp_path / "out", allow_problems=1)
    assert [problem["patch_id"] for problem in manifest.problems] == [broken]


@pytest.mark.parametrize("part", ["s1", "s2", "lc"])
def test_a_part_that_was_not_unpacked_at_all_is_named_at_once(small_tree, part):
    shutil.rmtree(small_tree / "ROIs1970_fall" / f"{part}_3")
    with pytest.raises(FileNotFoundError, match=f"no files of {part} found, such as ROIs1158_spring_{part}_1_p30.tif"):
        open_source("sen12ms", SourceInputs(input=str(small_tree)))


def with_nan():
    pixels = pixels_of("x", "s1")
    pixels[1, 3, 3] = np.nan
    return pixels


@pytest.mark.parametrize(
    ("part", "pixels", "named"),
    [
        (
            "lc",
            map_of({1: NUM_PIXELS - 3, 0: 3}),
            "lc_3_p5.tif: its band IGBP has the value 0 in 3 px; expected values 1 ... 17",
        ),
        ("lc", map_of({1: NUM_PIXELS - 4, 255: 4}), "its band IGBP has the value 255 in 4 px"),
        ("lc", map_of({18: NUM_PIXELS}), "its band IGBP has the value 18 in 65536 px"),
        ("lc", map_of({1: NUM_PIXELS}).astype(np.uint16), "has 4 band.*uint16; expected .*as 4 band.*uint8"),
        ("lc", map_of({1: NUM_PIXELS})[:1], "lc_3_p5.tif: has 1 band.*as 4 band"),
        ("s1", pixels_of("x", "s1")[:1], "s1_3_p5.tif: has 1 band.*VV, VH as 2 band"),
        ("s1", with_nan(), "s1_3_p5.tif: contains numbers that are not finite"),
        ("s2", pixels_of("x", "s2")[:, :128, :128], "s2_3_p5.tif: has 13 band.*128 x 128 px"),
    ],
)
def test_a_broken_file_is_named(small_tree, tmp_path, part, pixels, named):
    write_image(path_of(small_tree, "ROIs1970_fall_3_p5", part), pixels)
    with pytest.raises(ValueError, match=rf"1 of \d+ patches is broken.*{named}"):
        run(small_tree, tmp_path / "out")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("ROIs1158_spring/s1_1/ROIs1158_spring_s3_1_p30.tif", "not named like a file of SEN12MS.*s2, s1, lc"),
        ("ROIs1158_autumn/s1_1/ROIs1158_autumn_s1_1_p30.tif", "ROIs1158_spring, ROIs1868_summer"),
        ("copy/ROIs1970_fall_lc_3_p5.tif", "ROIs1970_fall_lc_3_p5.tif is in two places"),
    ],
)
def test_a_wrong_name_says_what_is_allowed(small_tree, path, named):
    (small_tree / path).parent.mkdir(parents=True)
    (small_tree / path).write_bytes(b"")
    with pytest.raises(ValueError, match=named):
        open_source("sen12ms", SourceInputs(input=str(small_tree)))


def test_the_patch_that_is_damaged_as_published_is_left_out_and_counted(small_tree, tmp_path):
    write_triple(small_tree, "ROIs1868_summer_146_p202", {1: NUM_PIXELS})
    manifest = run(small_tree, tmp_path / "out")
    assert manifest.exclusions == {"damaged as published": 1}
    assert set(read_all(tmp_path / "out", manifest)) == {"ROIs1970_fall_3_p5"}


def test_a_model_takes_the_batches_once_the_statistics_are_known(records):
    manifest = read_manifest(records / "multi")
    known = tuple(dataclasses.replace(band, mean=2000.0, std=1000.0) for band in manifest.bands)
    bands = dataclasses.replace(manifest, bands=known).select_bands("MM")
    assert len(bands) == 12
    data = ShardedDataset(records / "multi", manifest)
    dataset = make_eval_dataset(data, "val", bands, batch_size=3, replica=Replica(0, 0, 1))
    model = create_model("wide_resnet_eca_b0", bands=bands, num_classes=10, width=1, resolution_px=64)
    for batch in dataset:
        assert batch["bands"]["VH"].shape == (3, 256, 256)
        assert np.isfinite(model(batch["bands"]).numpy()).all()
