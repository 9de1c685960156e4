"""Real patches are converted and read back bit by bit: those of the installed package, and others if present."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from osgeo import gdal

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.labels import CLASSES_19, label_indices, map_to_nomenclature
from bigearth_tf.data.record_schema import encode_example, parse_examples
from bigearth_tf.data.sharded_dataset import ShardedDataset
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.listing.archive import File
from tfrecord_tools.raster.geotiff import read_band
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.records.compare_with_source import compare
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source
from tfrecord_tools.sources.bigearthnet_v1 import find_patches


@pytest.fixture(scope="module")
def v1(shared_data):
    return shared_data / "bigearthnet_v1"


def read_all(folder, manifest):
    """Returns patch id -> (bands, label indices) of every record of a data set."""
    bands = manifest.bands
    found = {}
    for shard in manifest.shards:
        records = list(tf.data.TFRecordDataset(str(folder / shard.name)).as_numpy_iterator())
        batch = parse_examples(tf.constant(records), bands, len(manifest.class_names))
        for row, patch_id in enumerate(batch["patch_id"].numpy()):
            pixels = {name: array[row].numpy() for name, array in batch["bands"].items()}
            found[patch_id.decode()] = (pixels, tuple(np.flatnonzero(batch["labels"][row])))
    return found


def gdal_pixels(path):
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray()


def assert_equals_the_source(records, places):
    """Compares records with what GDAL itself reads, and with the JSON files."""
    for patch_id, (pixels, labels) in records.items():
        names = json.loads((Path(str(places[patch_id][0])) / f"{patch_id}_labels_metadata.json").read_text())["labels"]
        assert labels == label_indices(map_to_nomenclature(names, "19"), CLASSES_19)
        files = {
            path.stem.rsplit("_", 1)[1]: path for place in places[patch_id] for path in Path(str(place)).glob("*.tif")
        }
        assert set(pixels) == set(files)
        for name, array in pixels.items():
            expected = gdal_pixels(files[name])
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("sensors", [("s2",), ("s1",), ("s2", "s1")])
def test_the_real_v1_patches(v1, tmp_path, sensors):
    roots = {"s2": str(v1 / "BigEarthNet-v1.0"), "s1": str(v1 / "BigEarthNet-S1-v1.0")}
    roots = {name: root for name, root in roots.items() if name in sensors}
    source = open_source("bigearthnet_v1", SourceInputs(partial_archive=True, **roots))
    manifest = convert(source, tmp_path / "out", ConversionOptions(num_shards=2))
    assert verify(ShardedDataset(tmp_path / "out", manifest)) == []
    records = read_all(tmp_path / "out", manifest)
    # Nine of each sensor and six pairs, one of them in seasonal snow.
    assert len(records) == (5 if len(sensors) == 2 else 8)
    assert manifest.exclusions["snow"] == 1
    places = {parts[0].name: parts for parts in find_patches(roots.get("s2"), roots.get("s1"))}
    assert_equals_the_source(records, places)
    assert compare(ShardedDataset(tmp_path / "out", manifest), source) == []


def test_the_real_v2_samples_go_through_a_record_unchanged(shared_data):
    tifs = sorted((shared_data / "bigearthnet_v2").glob("BigEarthNet-S*/*/*/*.tif"))
    names = {path: path.stem.rsplit("_", 1)[1] for path in tifs}
    pixels = {name: read_band(File(str(path)), BANDS[name]) for path, name in names.items()}
    assert set(pixels) == set(BANDS)
    for path, name in names.items():
        np.testing.assert_array_equal(pixels[name], gdal_pixels(path))
    record = encode_example("v2", (), pixels, get_bands(BANDS))
    parsed = parse_examples(tf.constant([record]), get_bands(BANDS), 19)["bands"]
    for name, array in pixels.items():
        np.testing.assert_array_equal(parsed[name][0], array)
