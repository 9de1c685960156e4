"""Compressed records equal uncompressed ones for the checks and the input pipeline."""

import numpy as np

from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_eval_dataset
from tests.support.archives import random_pixels, write_lists, write_pair
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.records.check_against_manifest import verify
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source


def batch_of(folder):
    data = ShardedDataset.open(folder)
    (batch,) = make_eval_dataset(data, "train", data.select_bands("MM"), batch_size=4, replica=Replica())
    return batch


def compressible_pixels(band):
    pixels = random_pixels(band, 1)
    return pixels // 16 if band.sensor == "S2" else pixels


def test_gzip_changes_the_bytes_and_nothing_else(tmp_path):
    for index in range(4):
        write_pair(tmp_path, index, ["Pastures"], compressible_pixels)
    write_lists(tmp_path / "lists", {"train": [0, 1, 2, 3]})
    inputs = SourceInputs(s2=str(tmp_path / "s2"), s1=str(tmp_path / "s1"), lists_dir=str(tmp_path / "lists"))
    sizes = {}
    for compression in ("", "GZIP"):
        folder = tmp_path / f"records{compression}"
        manifest = convert(
            open_source("bigearthnet_v1", inputs), folder, ConversionOptions(num_shards=1, compression=compression)
        )
        assert manifest.compression == compression
        assert verify(ShardedDataset(folder, manifest)) == []
        sizes[compression] = manifest.shards[0].num_bytes
    assert sizes["GZIP"] < 0.9 * sizes[""]
    plain, packed = batch_of(tmp_path / "records"), batch_of(tmp_path / "recordsGZIP")
    np.testing.assert_array_equal(plain["patch_id"], packed["patch_id"])
    np.testing.assert_array_equal(plain["labels"], packed["labels"])
    for name, pixels in plain["bands"].items():
        np.testing.assert_array_equal(pixels, packed["bands"][name])
