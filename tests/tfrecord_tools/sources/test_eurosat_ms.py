"""EuroSAT: images are read bit by bit, bands have the right names, classes are those of the folders."""

import collections
import dataclasses
import shutil
import tarfile

import numpy as np
import pytest
from osgeo import gdal

from bigearth_tf.data.datasets import get_dataset
from bigearth_tf.data.datasets.eurosat_ms import CLASS_NAMES
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.models.registry import create_model
from tests.support.eurosat_ms import pixels_of
from tests.support.files import contents
from tests.support.geotiffs import write_image
from tests.support.records import read_all
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

gdal.UseExceptions()

# Written out: the order in a file must not come from the code under test.
ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
COUNTS = {"AnnualCrop": 10, "Forest": 5, "River": 3, "SeaLake": 1}
SPLIT_COUNTS = {"AnnualCrop": (6, 2, 2), "Forest": (3, 1, 1), "River": (1, 1, 1), "SeaLake": (1, 0, 0)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("eurosat") / "tif"
    for class_name, count in COUNTS.items():
        for number in range(1, count + 1):
            patch_id = f"{class_name}_{number}"
            write_image(root / class_name / f"{patch_id}.tif", pixels_of(patch_id))
    (root / "Forest" / "Forest_1.tif.aux.xml").write_text("<PAMDataset/>")
    (root / "Forest" / "._Forest_1.tif").write_bytes(b"of another system")
    return root


def run(root, output_dir, num_shards=2, seed=0, **options):
    source = open_source("eurosat_ms", SourceInputs(input=str(root), seed=seed, partial_archive=True))
    return convert(source, output_dir, ConversionOptions(num_shards=num_shards, **options))


@pytest.fixture(scope="module")
def records(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "eurosat"
    run(tree, folder)
    return folder


def test_the_manifest_has_the_facts_of_the_data_set(records):
    manifest = read_manifest(records)
    assert (manifest.dataset, manifest.label_kind, manifest.licence) == ("eurosat_ms", LabelKind.SINGLE, "MIT")
    assert manifest.class_names == CLASS_NAMES == tuple(sorted(CLASS_NAMES))
    assert tuple(band.name for band in manifest.bands) == ORDER
    assert {(band.size_px, band.resolution_m, band.dtype, band.mean) for band in manifest.bands} == {
        (64, 10, "uint16", None)
    }
    assert manifest.bands == get_dataset("eurosat_ms").bands
    assert manifest.options["split_percent"] == {"train": 60, "val": 20, "test": 20}
    for name, expected in SPLIT_COUNTS.items():
        found = tuple(manifest.class_counts(split)[CLASS_NAMES.index(name)] for split in ("train", "val", "test"))
        assert found == expected
    assert verify(ShardedDataset(records, manifest)) == []


def test_every_pixel_and_label_arrives(records):
    found = read_all(records, read_manifest(records))
    assert set(found) == {f"{name}_{number}" for name, count in COUNTS.items() for number in range(1, count + 1)}
    for patch_id, (_, pixels, labels) in found.items():
        assert labels == [patch_id.split("_")[0]]
        for name, expected in zip(ORDER, pixels_of(patch_id)):
            np.testing.assert_array_equal(pixels[name], expected)
            assert pixels[name].dtype == np.uint16


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_tar_and_two_workers_give_the_bytes_of_the_folder(tree, records, tmp_path, workers):
    with tarfile.open(tmp_path / "eurosat.tar", "w") as tar:
        tar.add(tree, "ds/images/tif")
    run(tmp_path / "eurosat.tar", tmp_path / "out", workers=workers)
    assert contents(tmp_path / "out") == contents(records)


def test_the_split_of_an_image_follows_from_seed_and_ids_alone(tree, records, tmp_path):
    moved = shutil.copytree(tree, tmp_path / "elsewhere" / "deeper")
    splits = {}
    for seed, root in ((0, moved.parent), (1, moved)):
        refs = open_source("eurosat_ms", SourceInputs(input=str(root), seed=seed, partial_archive=True)).refs
        splits[seed] = {ref.patch_id: ref.split for ref in refs}
    assert splits[0] == {patch_id: split for patch_id, (split, *_) in read_all(records, read_manifest(records)).items()}
    assert splits[0] != splits[1]
    with pytest.raises(ValueError, match="contains another data set.*seed: 0 there, 1 here"):
        run(tree, records, seed=1)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("Glacier/Glacier_1.tif", "Glacier_1.tif: folder 'Glacier' is not a class.*AnnualCrop, Forest"),
        ("Forest_9.tif", "folder 'tif' is not a class"),
        ("forest/forest_1.tif", "folder 'forest' is not a class"),
        ("Forest/River_9.tif", "'River_9.tif' does not belong in folder Forest.*Forest_1.tif"),
        ("Forest/Forest_09.tif", "'Forest_09.tif' does not belong in folder Forest"),
        ("Forest/Forest_9.tiff", "'Forest_9.tiff' does not belong"),
        ("Forest/Forest 9.tif", "'Forest 9.tif' does not belong"),
        ("copy/Forest/Forest_1.tif", "Forest_1 is in two places"),
    ],
)
def test_a_wrong_name_says_what_is_allowed(tree, tmp_path, path, named):
    root = shutil.copytree(tree, tmp_path / "tif")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"")
    with pytest.raises(ValueError, match=named):
        open_source("eurosat_ms", SourceInputs(input=str(root)))


def test_wrong_inputs_are_refused(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="no images found, files such as Forest/Forest_1.tif"):
        open_source("eurosat_ms", SourceInputs(input=str(tmp_path)))
    with pytest.raises(FileNotFoundError, match="no such folder or tar"):
        open_source("eurosat_ms", SourceInputs(input=str(tmp_path / "nothing")))
    with pytest.raises(ValueError, match="missing: --input"):
        open_source("eurosat_ms", SourceInputs())
    with pytest.raises(ValueError, match="not taken: --s2"):
        open_source("eurosat_ms", SourceInputs(input=str(tree), s2=str(tree)))
    with pytest.raises(ValueError, match="--label_kind=multi"):
        open_source("eurosat_ms", SourceInputs(input=str(tree), label_kind="multi"))
    assert (
        open_source("eurosat_ms", SourceInputs(input=str(tree), label_kind="single", partial_archive=True)).label_kind
        is LabelKind.SINGLE
    )


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "cannot be read"),
        (lambda path: write_image(path, pixels_of("x")[:12]), "has 12 band.*expected band B01, B02.*B12, B8A as 13"),
        (lambda path: write_image(path, pixels_of("x", 63)), "63 x 63 px.*64 x 64 px"),
        (lambda path: write_image(path, pixels_of("x").astype(np.float32)), "float32.*uint16"),
    ],
)
def test_a_broken_image_is_named(tree, tmp_path, damage, named):
    root = shutil.copytree(tree, tmp_path / "tif")
    damage(root / "River" / "River_2.tif")
    with pytest.raises(ValueError, match=rf"1 of \d+ patches is broken.*River_2.tif: .*{named}"):
        run(root, tmp_path / "out")
    manifest = run(root, tmp_path / "out", allow_problems=1)
    assert [problem["patch_id"] for problem in manifest.problems] == ["River_2"]


def test_a_model_takes_the_batches_once_the_statistics_are_known(records):
    manifest = read_manifest(records)
    with pytest.raises(ValueError, match="B02.*no mean and standard deviation"):
        manifest.select_bands("S2")
    known = tuple(dataclasses.replace(band, mean=2000.0, std=1000.0) for band in manifest.bands)
    bands = dataclasses.replace(manifest, bands=known).select_bands("S2")
    assert len(bands) == 10
    dataset = make_eval_dataset(ShardedDataset(records, manifest), "val", bands, batch_size=3, replica=Replica(0, 0, 1))
    model = create_model("wide_resnet_eca_b0", bands=bands, num_classes=10, width=1, resolution_px=64)
    for batch in dataset:
        assert batch["bands"]["B8A"].shape == (3, 64, 64)
        assert np.isfinite(model(batch["bands"]).numpy()).all()


def test_the_real_images_are_converted_bit_by_bit(shared_data, tmp_path):
    root = shared_data / "eurosat_ms"
    manifest = run(root, tmp_path / "out", num_shards=1)
    assert verify(ShardedDataset(tmp_path / "out", manifest)) == []
    found = read_all(tmp_path / "out", manifest)
    paths = {path.stem: path for path in root.glob("*/*.tif")}
    assert set(found) == set(paths) and len(paths) == 100
    for patch_id, (_, pixels, labels) in found.items():
        assert labels == [paths[patch_id].parent.name]
        for name, expected in zip(ORDER, gdal.Open(str(paths[patch_id])).ReadAsArray()):
            np.testing.assert_array_equal(pixels[name], expected)
    assert collections.Counter(split for split, *_ in found.values()) == {"train": 60, "val": 20, "test": 20}
    assert [manifest.class_counts(split) for split in ("train", "val", "test")] == [(6,) * 10, (2,) * 10, (2,) * 10]
    mean = {name: np.mean([pixels[name] for _, pixels, _ in found.values()]) for name in ORDER}
    # B8A is the near infrared next to B08; B10 (cirrus) receives almost nothing from the ground, B09 little.
    assert abs(mean["B8A"] - mean["B08"]) < 0.2 * mean["B08"]
    assert mean["B10"] < 50 < mean["B09"] < 0.6 * mean["B8A"]
