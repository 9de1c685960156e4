"""Statistics of bands: exact in any order of addition, and read by training."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.manifest import read_manifest, write_manifest
from bigearth_tf.data.record_schema import encode_example, parse_examples
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.runtime.locks import hold_lock
from tests.support import warm_python
from tests.support.archives import random_pixels, write_lists, write_pair
from tests.support.records import write_records
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.records.band_moments import (
    NO_PIXELS,
    compute_moments,
    describe_moments,
    pixel_moments,
    replace_statistics,
)
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source

BAND_NAMES = ("B01", "B04", "VV")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("statistics") / "records"
    write_records(path, {"train": 7, "val": 3}, num_shards=3, bands=BAND_NAMES)
    return path


def rewrite_shard(folder, manifest, number, pixels):
    """Replaces shard `number` by one record of these pixels, also in the manifest."""
    shard = manifest.shards[number]
    path = folder / shard.name
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(encode_example("p", [], pixels, manifest.bands))
    changed = dataclasses.replace(
        shard, num_records=1, num_bytes=path.stat().st_size, sha256=file_sha256(path), class_counts=(0, 0, 0)
    )
    shards = (*manifest.shards[:number], changed, *manifest.shards[number + 1 :])
    write_manifest(dataclasses.replace(manifest, shards=shards), folder)


def test_moments_equal_numbers_computed_by_hand():
    found = pixel_moments(np.array([[0, 2], [4, 6]], np.uint16)) + pixel_moments(np.array([[8, 10], [0, 2]], np.uint16))
    # 32 / 8; squares 4 + 16 + 36 + 64 + 100 + 4 = 224, 224 / 8 - 16 = 12.
    assert (found.count, found.total, found.squares) == (8, 32, 224)
    assert (found.mean, found.std) == (4.0, math.sqrt(12))
    assert (found.low, found.high, found.zeros) == (0, 10, 2)
    found = NO_PIXELS + pixel_moments(np.array([[-1.5, 0.5]], np.float32))
    assert (found.mean, found.std, found.low, found.high, found.zeros) == (-0.5, 1.0, -1.5, 0.5, 0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_moments_equal_those_of_all_pixels_together(folder, split):
    manifest = read_manifest(folder)
    paths = [str(folder / shard.name) for shard in manifest.split_shards(split)]
    records = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    batch = parse_examples(tf.constant(records), manifest.bands, len(manifest.class_names))
    moments = compute_moments(ShardedDataset(folder, manifest), split)
    for name in BAND_NAMES:
        pixels = batch["bands"][name].numpy().astype(np.float64)
        assert moments[name].count == pixels.size
        np.testing.assert_allclose(moments[name].mean, pixels.mean(), rtol=1e-13)
        np.testing.assert_allclose(moments[name].std, pixels.std(), rtol=1e-12)
        assert (moments[name].low, moments[name].high) == (pixels.min(), pixels.max())
        assert moments[name].zeros == np.count_nonzero(pixels == 0)


def test_neither_workers_nor_shards_nor_order_change_a_bit(folder, tmp_path):
    manifest = read_manifest(folder)
    one, three = (compute_moments(ShardedDataset(folder, manifest), "train", workers) for workers in (1, 3))
    assert one == three
    rng = np.random.default_rng(0)
    parts = [pixel_moments(rng.normal(-15, 5, (20, 20)).astype(np.float32)) for _ in range(50)]
    forwards, backwards = sum(parts, NO_PIXELS), sum(reversed(parts), NO_PIXELS)
    assert forwards == backwards
    assert forwards.std == (sum(parts[:7], NO_PIXELS) + sum(parts[7:], NO_PIXELS)).std


def test_the_largest_values_do_not_overflow():
    full = pixel_moments(np.full((120, 120), 65535, np.uint16))
    assert full.squares == 65535**2 * 14400
    # The number of patches of BigEarthNet: the sum of squares needs more than 64 bits.
    whole = dataclasses.replace(
        full, count=full.count * 590_326, total=full.total * 590_326, squares=full.squares * 590_326
    )
    assert whole.squares > 2**64
    assert (whole.mean, whole.std) == (65535.0, 0.0)
    lowest = pixel_moments(np.full((120, 120), -32768, np.int16))
    assert (lowest.mean, lowest.std, lowest.low) == (-32768.0, 0.0, -32768.0)


def test_a_small_spread_about_a_large_mean_is_not_lost():
    pixels = np.array([[1e8 - 1, 1e8 + 1]], np.float64)
    parts = [pixel_moments(pixels) for _ in range(1000)]
    assert sum(parts, NO_PIXELS).std == 1.0
    constant = pixel_moments(np.full((120, 120), -12.62, np.float32))
    assert (constant.mean, constant.std) == (float(np.float32(-12.62)), 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_reported_with_its_patch(folder, tmp_path, value):
    manifest = write_records(tmp_path / "r", {"train": 2}, bands=BAND_NAMES)
    pixels = {band.name: np.zeros((band.size_px, band.size_px), band.dtype) for band in manifest.bands}
    pixels["VV"][3, 4] = value
    rewrite_shard(tmp_path / "r", manifest, 1, pixels)
    with pytest.raises(ValueError, match="train-00001-of-00002.tfrecord: patch p: band VV: a pixel is not finite"):
        compute_moments(ShardedDataset.open(tmp_path / "r"), "train")


def test_a_damaged_shard_is_reported(tmp_path):
    manifest = write_records(tmp_path / "r", {"train": 4}, bands="RGB")
    path = tmp_path / "r" / manifest.shards[1].name
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="train-00001-of-00002.tfrecord: record 0: its bytes are damaged.*verify"):
        compute_moments(ShardedDataset(tmp_path / "r", manifest), "train")


def test_training_reads_the_statistics_that_were_written(folder, tmp_path):
    manifest = read_manifest(folder)
    moments = compute_moments(ShardedDataset(folder, manifest), "train")
    unknown = tuple(dataclasses.replace(band, mean=None, std=None) for band in manifest.bands)
    with pytest.raises(ValueError, match="band_stats --write"):
        dataclasses.replace(manifest, bands=unknown).select_bands("VV")
    written = replace_statistics(dataclasses.replace(manifest, bands=unknown), "train", moments)
    write_manifest(written, tmp_path)
    for shard in manifest.shards:
        (tmp_path / shard.name).write_bytes((folder / shard.name).read_bytes())
    again = read_manifest(tmp_path)
    assert again == written
    assert again.statistics == {"split": "train", "num_records": 7}
    for band in again.select_bands("VV,B04"):
        assert (band.mean, band.std) == (moments[band.name].mean, moments[band.name].std)


def test_running_a_conversion_again_keeps_the_statistics(repository, tmp_path):
    for index in range(3):
        write_pair(tmp_path, index, ["Pastures"], lambda band: random_pixels(band, 3))
    write_lists(tmp_path / "lists", {"train": [0], "val": [1], "test": [2]})
    records = tmp_path / "records"
    inputs = SourceInputs(s2=str(tmp_path / "s2"), lists_dir=str(tmp_path / "lists"))
    manifest = convert(open_source("bigearthnet_v1", inputs), records, ConversionOptions())
    assert manifest.statistics == {}
    written = replace_statistics(manifest, "train", compute_moments(ShardedDataset(records, manifest), "train"))
    write_manifest(written, records)
    before = (records / "manifest.json").read_bytes()
    flags = [f"--s2={inputs.s2}", f"--lists_dir={inputs.lists_dir}", f"--output_dir={records}"]
    result = warm_python.run(["-m", "tfrecord_tools.convert", *flags], cwd=repository)
    assert "complete already" in result.stdout, result.stderr
    assert (records / "manifest.json").read_bytes() == before
    assert read_manifest(records).select_bands("B04")[0].mean == random_pixels(BANDS["B04"], 3).mean()


def test_the_table_compares_with_the_manifest():
    bands = (*get_bands("VV"), dataclasses.replace(BANDS["B01"], mean=None, std=None))
    moments = {"VV": pixel_moments(np.array([-14, -10], np.float32)), "B01": pixel_moments(np.array([0, 2], np.uint16))}
    lines = describe_moments(bands, moments).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == [
        "VV", "-12.0000", "-12.6200", "+0.6200", "(+4.9%)", "2.0000", "5.1159", "-3.1159", "(-60.9%)", "-14", "-10",
        "0.00%",
    ]  # fmt: skip
    assert lines[2].split() == ["B01", "1.0000", "-", "-", "1.0000", "-", "-", "0", "2", "50.00%"]


def test_the_command_writes_only_when_asked(repository, tmp_path):
    write_records(tmp_path / "r", {"train": 4, "val": 2}, bands="RGB")
    before = (tmp_path / "r" / "manifest.json").read_bytes()

    def run(*arguments):
        command = ["-m", "tfrecord_tools.band_stats", f"--data_dir={tmp_path / 'r'}", *arguments]
        return warm_python.run(command, cwd=repository)

    result = run("--split=val", "--workers=1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("band")
    assert (tmp_path / "r" / "manifest.json").read_bytes() == before
    assert "wrote mean and std of 4 records" in run("--write", "--workers=1").stdout
    assert read_manifest(tmp_path / "r").statistics["split"] == "train"
    with hold_lock(tmp_path / "r" / ".lock", tmp_path):
        assert run("--workers=1").returncode == 0
        result = run("--write", "--workers=1")
        assert (result.returncode, f"{tmp_path / 'r'}: in use by process" in result.stderr) == (1, True), result.stderr
    result = run("--split=nowhere")
    assert result.returncode == 1
    assert "error: No split 'nowhere'" in result.stderr
