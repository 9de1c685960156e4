"""Benchmark of the input pipeline: records/s, compared with reading alone and with a plain pipeline of int64 records.

    python -m benchmarks.input_pipeline --num_records=3000 --repeats=5

Writes the same synthetic Sentinel-2 patches as our records and as int64 records, then measures a whole pass of each in
turn, from the first request to the last batch, with all files in the page cache:

- read records: reads records from several files at once into batches, without parsing; the upper limit.
- our pipeline: `make_train_dataset` of one rank, shuffled and parsed to raw integers.
- our pipeline, int64: the same for int64 records.
- plain pipeline, int64: parses every record separately, casts and standardizes its bands on the host, then batches; on
  all cores, without shuffling, which is cheaper.

Each file has several names, as if there were several times as many files. A pass is then so long that its start counts
no more than in training. Printed are medians of the repeats; other work on the machine makes them meaningless.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from benchmarks.synthetic_records import write_records
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

if TYPE_CHECKING:
    import tensorflow as tf

    from bigearth_tf.data.sharded_dataset import ShardedDataset

_NUM_RECORDS = flags.DEFINE_integer("num_records", 3000, "Records to write.", lower_bound=16)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Number of measurements of each side.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Records of a batch.", lower_bound=1)
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Folder that keeps the records; default: a temporary one.")
_SHUFFLE_MB = flags.DEFINE_float("shuffle_mb", 500.0, "Memory for shuffling.", lower_bound=1.0)
_NAMES = 10  # Per file.
_INT64_NAMES = 2  # Int64 records are slow to read: fewer are enough.


def main() -> None:
    """Runs the benchmark and prints its table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(_WORK_DIR.value or temporary) / f"records-{_NUM_RECORDS.value}"
        _measure(_write(folder, "bigearth_tf", _NAMES), _write(folder, "published_s2", _INT64_NAMES))


def _write(parent: Path, record_format: str, names: int) -> ShardedDataset:
    from bigearth_tf.data.sharded_dataset import ShardedDataset

    return ShardedDataset.open(write_records(parent, _NUM_RECORDS.value, names, record_format))


def _measure(ours: ShardedDataset, int64: ShardedDataset) -> None:
    datasets = {
        "read records": _read_records(ours),
        "our pipeline": _read_batches(ours),
        "our pipeline, int64": _read_batches(int64),
        "plain pipeline, int64": _read_plainly(int64),
    }
    rates: dict[str, list[float]] = {name: [] for name in datasets}
    with progress_bar((_REPEATS.value + 1) * len(datasets), "benchmark", "pass") as progress:
        for repeat in range(_REPEATS.value + 1):
            for name, dataset in datasets.items():
                rate = _rate(dataset)
                if repeat:  # The first pass fills the page cache.
                    rates[name].append(rate)
                progress.update()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        f"{ours.num_records('train')} records a pass, {int64.num_records('train')} of int64, "
        f"batches of {_BATCH_SIZE.value}, {os.cpu_count()} cores, median of {_REPEATS.value}"
    )
    print(f"{'records/s':24} {'median':>8}   all")
    for name, median in medians.items():
        print(f"{name:24} {median:8.0f}   {' '.join(f'{rate:.0f}' for rate in rates[name])}")
    our = medians["our pipeline"]
    print(f"our pipeline / read records            {our / medians['read records']:5.2f}   (goal: at least 0.60)")
    print(
        f"our pipeline / plain pipeline, int64   {our / medians['plain pipeline, int64']:5.1f}   (goal: at least 2.5)"
    )


def _rate(dataset: tf.data.Dataset) -> float:
    """Returns the records/s of one pass."""
    batches = 0
    start = time.perf_counter()
    for _ in dataset:
        batches += 1
    return batches * _BATCH_SIZE.value / (time.perf_counter() - start)


def _read_records(dataset: ShardedDataset) -> tf.data.Dataset:
    import tensorflow as tf

    paths = [os.fspath(dataset.shard_path(shard)) for shard in dataset.shards()]
    records = tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
    )
    return records.batch(_BATCH_SIZE.value, drop_remainder=True)


def _read_batches(dataset: ShardedDataset) -> tf.data.Dataset:
    from bigearth_tf.distributed.replica import Replica
    from bigearth_tf.input.pipeline import make_train_dataset
    from bigearth_tf.input.shuffle_order import EpochPosition

    return make_train_dataset(
        dataset,
        dataset.select_bands("S2"),
        Replica(),
        EpochPosition(seed=0, epoch=0),
        global_batch_size=_BATCH_SIZE.value,
        shuffle_mb=_SHUFFLE_MB.value,
    )


def _read_plainly(dataset: ShardedDataset) -> tf.data.Dataset:
    import tensorflow as tf

    bands = dataset.select_bands("S2")
    features = {band.name: tf.io.FixedLenFeature([band.size_px**2], tf.int64) for band in bands}
    features["BigEarthNet-19_labels_multi_hot"] = tf.io.FixedLenFeature([dataset.num_classes], tf.int64)

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        example = tf.io.parse_single_example(serialized, features)
        batch = {"labels": tf.cast(example["BigEarthNet-19_labels_multi_hot"], tf.float32)}
        for band in bands:
            pixels = tf.reshape(tf.cast(example[band.name], tf.float32), [band.size_px, band.size_px])
            batch[band.name] = (pixels - band.mean) / band.std
        return batch

    paths = [os.fspath(dataset.shard_path(shard)) for shard in dataset.shards()]
    return (
        tf.data.TFRecordDataset(paths)
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(_BATCH_SIZE.value, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


if __name__ == "__main__":
    run_command(main)
