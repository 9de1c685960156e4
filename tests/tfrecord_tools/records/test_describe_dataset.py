"""A data set as text and images: counts, bars of class frequencies, and a contact sheet."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bigearth_tf.data.bands import S1, get_bands
from bigearth_tf.data.int64_schema import encode_int64_example
from bigearth_tf.data.labels import CLASSES_19, CLASSES_43
from bigearth_tf.data.manifest import Shard, write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.data.true_color import common_stretch, describe_stretch, true_color, visible_bands
from bigearth_tf.runtime.figures import wrap, wrap_id
from bigearth_tf.runtime.files import file_sha256
from tests.support.records import write_records
from tfrecord_tools.records import describe_dataset
from tfrecord_tools.records.describe_dataset import class_chart, describe, shorten
from tfrecord_tools.records.plot_dataset import plot_class_frequencies, plot_samples
from tfrecord_tools.records.stored_records import read_records, sample_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspection") / "records"
    write_records(path, {"train": 11, "val": 4, "test": 3}, num_shards=3, bands="RGB")
    return path


@pytest.fixture(scope="module")
def dataset(folder):
    return ShardedDataset.open(folder)


@pytest.fixture(scope="module")
def manifest(dataset):
    return dataset.manifest


def with_counts(manifest, records, counts, names):
    """A manifest of one split with these counts of each class."""
    shards = (Shard("train-00000-of-00001.tfrecord", "train", records, 1, "", tuple(counts)),)
    return dataclasses.replace(manifest, class_names=tuple(names), shards=shards)


def test_the_text_contains_the_facts_of_the_manifest(manifest):
    changed = dataclasses.replace(
        manifest,
        exclusions={"snow": 61_707},
        problems=({"patch_id": "p", "file": "a/b.tif", "problem": "is cut short"},),
        bands=(*manifest.bands[:2], dataclasses.replace(manifest.bands[2], mean=None, std=None)),
        attributes=("country",),
        versions={"numpy": "1.26"},
    )
    lines = [line.split() for line in describe(changed).splitlines()]
    assert ["licence", "none"] in lines
    assert [
        "B04",
        "S2",
        "120",
        "x",
        "120",
        "10",
        "m",
        "uint16",
        "reflectance",
        "x",
        "10000",
        "590.24",
        "675.89",
    ] in lines
    assert [line[-2:] for line in lines if line[:1] == ["B02"]] == [["-", "-"]]
    assert [line[:6] for line in lines if line[:1] == ["train"]] == [["train", "11", "3", "3", "4", "4"]]
    assert [line[0] for line in lines if line[:1] in (["train"], ["val"], ["test"])] == ["train", "val", "test"]
    assert ["snow", "61707"] in lines
    assert "broken patches that were tolerated: 1\na/b.tif: is cut short" in describe(changed)
    assert "broken patches that were tolerated: none" in describe(manifest)


def test_the_text_names_the_origin_of_the_statistics(manifest):
    assert "those published for test; `python" in describe(manifest)
    unknown = tuple(dataclasses.replace(band, mean=None) for band in manifest.bands)
    assert "not known yet; `python" in describe(dataclasses.replace(manifest, bands=unknown))
    own = dataclasses.replace(manifest, statistics={"split": "train", "num_records": 11})
    assert "computed over the 11 records of train" in describe(own)


def test_bars_are_proportional_to_shares_in_class_order(manifest):
    chart = class_chart(with_counts(manifest, 200, (100, 50, 1, 0), ("one", "two", "three", "four")), 80)
    title, *lines = chart.splitlines()
    assert title == "train: 200 records, share of records with each class; a record may have several"
    assert [line.split()[0] for line in lines] == ["one", "two", "three", "four"]
    bars = [line.count("█") for line in lines]
    assert bars[0] == 80 - 12 - 2 - 2 - len("100   50.0 %")
    assert bars[1] == bars[0] // 2
    assert "▌" in lines[2] and not bars[2]  # A class that occurs at all can be seen.
    assert lines[3].split() == ["four", "0", "0.0", "%"]
    assert [line.split()[-3:-1] for line in lines[:3]] == [["100", "50.0"], ["50", "25.0"], ["1", "0.5"]]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_every_line_fits_and_numbers_are_aligned(manifest, width):
    counts = np.linspace(0, 269_695, len(CLASSES_19)).astype(int)
    full = with_counts(manifest, 269_695, counts.tolist(), CLASSES_19)
    lines = class_chart(full, width).splitlines()[1:]
    assert len(lines) == 19
    assert {len(line) for line in lines} == {width}
    assert {line.rindex("%") for line in lines} == {width - 1}
    assert "269,695" in lines[-1]


def test_all_splits_have_one_scale(manifest):
    shards = (Shard("a", "train", 10, 1, "", (10, 1, 1)), Shard("b", "val", 10, 1, "", (5, 0, 0)))
    lines = class_chart(dataclasses.replace(manifest, shards=shards), 80).splitlines()
    first = [line.count("█") for line in lines if line.startswith(manifest.class_names[0])]
    assert first[1] == first[0] // 2


def test_a_data_set_without_any_label_or_record_has_a_chart(manifest):
    assert class_chart(with_counts(manifest, 0, (0, 0, 0), manifest.class_names), 80).count("0.0 %") == 3


def test_a_terminal_without_block_characters_gets_ascii(manifest):
    chart = class_chart(manifest, 80, ascii_only=True)
    assert chart.isascii() and "###" in chart


def test_names_are_shortened():
    assert shorten("Pastures", 8) == "Pastures"
    assert (
        shorten("Land principally occupied by agriculture, with", 44) == "Land principally occupied by agriculture..."
    )
    assert len(shorten("x" * 50, 20)) == 20


def test_records_are_read_back_as_they_were_written(dataset):
    for shard in dataset.shards("val"):
        for record in read_records(dataset, shard):
            number = int(record.patch_id.split("_")[1])
            assert record.label_indices == tuple(sorted({number % 2} | ({2} if number % 3 == 0 else set())))
            assert {array.shape for array in record.bands.values()} == {(120, 120)}
            assert record.attributes == {}


def test_samples_are_spread_evenly_and_repeatable(dataset):
    ids = [record.patch_id for record in sample_records(dataset, "train", 6)]
    assert ids == [record.patch_id for record in sample_records(dataset, "train", 6)]
    # Shards of 3, 4 and 4 records; the first ones of each.
    assert ids == ["train_000", "train_001", "train_003", "train_004", "train_007", "train_008"]
    assert [record.patch_id for record in sample_records(dataset, "train", 2)] == [
        "train_000",
        "train_003",
    ]
    assert len(sample_records(dataset, "train", 100)) == 11


def test_sampling_reads_only_the_first_records(dataset, tmp_path):
    for shard in dataset.shards():
        content = bytearray(dataset.shard_path(shard).read_bytes())
        content[-100] ^= 1  # Of the last record.
        (tmp_path / shard.name).write_bytes(content)
    assert len(sample_records(ShardedDataset(tmp_path, dataset.manifest), "train", 6)) == 6
    with pytest.raises(ValueError, match="record 2: its bytes are damaged"):
        sample_records(ShardedDataset(tmp_path, dataset.manifest), "train", 100)


def test_int64_records_are_read_too(tmp_path, manifest):
    rows = get_bands("S2_ALL")
    pixels = {band.name: np.full((band.size_px, band.size_px), number, np.uint16) for number, band in enumerate(rows)}
    path = tmp_path / "train.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(encode_int64_example("p", (2, 5), pixels, rows))
    counts = tuple(int(index in (2, 5)) for index in range(19))
    published = dataclasses.replace(
        manifest,
        record_format="published_s2",
        bands=rows,
        class_names=CLASSES_19,
        shards=(Shard(path.name, "train", 1, path.stat().st_size, file_sha256(path), counts),),
    )
    write_manifest(published, tmp_path)
    (record,) = sample_records(ShardedDataset.open(tmp_path), "train", 12)
    assert (record.patch_id, record.label_indices) == ("p", (2, 5))
    assert all((record.bands[band.name] == pixels[band.name]).all() for band in rows)


def test_an_image_uses_the_bands_that_exist():
    ramp = np.arange(100, dtype=np.float32).reshape(10, 10)
    assert visible_bands(("B02", "B03", "B04", "VV")) == ("B04", "B03", "B02")
    assert visible_bands(("B02", "B03", *S1)) == ("VV",)
    assert visible_bands(("B08", "B11")) == ("B08",)
    colors = true_color({"B04": ramp, "B03": ramp, "B02": ramp * 0})
    assert colors.shape == (10, 10, 3)
    assert colors.min() == 0 and colors.max() == 1 and not colors[..., 2].any()
    assert true_color({"VV": -ramp}).shape == (10, 10)
    assert np.isfinite(true_color({"VV": ramp * 0})).all()


def test_images_of_level_1c_share_a_stretch_of_each_band():
    """Forest under a bright blue atmosphere is dark and green, not as bright and blue as the sea next to it."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, (2, 3, 20, 20)).astype(np.float32)
    forest = dict(zip(("B04", "B03", "B02"), noise[0] + [[[350.0]], [[600.0]], [[900.0]]]))
    sand = dict(zip(("B04", "B03", "B02"), noise[1] + [[[2500.0]], [[2200.0]], [[2000.0]]]))
    assert common_stretch([forest, sand], "L2A") is None
    assert common_stretch([{"VV": forest["B04"]}], "L1C") is None
    alone = true_color(forest).mean(axis=(0, 1))
    assert alone[2] > 0.9, "stretched by itself, forest is blue"
    stretch = common_stretch([forest, sand], "L1C")
    assert (true_color(forest, stretch).mean(axis=(0, 1)) < 0.2).all()
    assert (true_color(sand, stretch).mean(axis=(0, 1)) > 0.9).all()
    assert "over all images" in describe_stretch(stretch)
    assert "its own percentiles" in describe_stretch(None)


def test_long_ids_break_behind_underscores_and_names_are_whole():
    patch_id = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
    lines = wrap_id(patch_id, 38).split("\n")
    assert "".join(lines) == patch_id
    assert len(lines) == 2 and lines[0].endswith("_") and max(map(len, lines)) <= 38
    longest = max(CLASSES_43, key=len)
    for width in (30, 46, 100):
        wrapped = wrap(longest, width)
        assert wrapped.replace("\n", " ") == longest
        assert max(map(len, wrapped.split("\n"))) <= width


def test_the_images_show_every_split_and_every_sample(dataset, manifest, tmp_path):
    plot_class_frequencies(tmp_path / "classes", manifest)
    colors = {tuple(pixel) for pixel in np.asarray(Image.open(tmp_path / "classes.png").convert("RGB")).reshape(-1, 3)}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)} <= colors
    sizes = []
    for count in (1, 4, 11):
        plot_samples(
            tmp_path / "samples",
            manifest,
            "train",
            sample_records(dataset, "train", count),
        )
        sizes.append(Image.open(tmp_path / "samples.png").size)
    assert sizes[0][0] < sizes[1][0] == sizes[2][0]
    assert sizes[1][1] < sizes[2][1] / 2


def run(repository, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tfrecord_tools.inspect", *map(str, arguments)],
        cwd=repository, env={**os.environ, "COLUMNS": "72", **environment}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_prints_the_text_and_writes_the_images(folder, repository, tmp_path):
    result = run(repository, f"--data_dir={folder}", f"--output_dir={tmp_path / 'new' / 'out'}", "--samples=4")
    assert result.returncode == 0, result.stderr
    assert "data set    test" in result.stdout and "█" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if line.endswith(" %")) == 72
    for name in ("classes.png", "samples.png"):
        assert (tmp_path / "new" / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_without_plots_nothing_is_written_and_an_ascii_terminal_suffices(folder, repository, tmp_path):
    arguments = [f"--data_dir={folder}", f"--output_dir={tmp_path / 'out'}", "--noplots"]
    result = run(repository, *arguments, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "###" in result.stdout
    assert not (tmp_path / "out").exists()
    wrong = run(repository, *arguments, "--split=nowhere")
    assert wrong.returncode == 1
    assert "error: No split 'nowhere'" in wrong.stderr


def test_the_command_hides_no_module_of_python():
    import inspect  # The one of the standard library.

    assert inspect.signature(describe_dataset.describe)
    assert "tfrecord_tools" not in inspect.__file__
