"""Computes each band's exact mean and standard deviation over a split, from the records.

    python -m tfrecord_tools.band_stats --data_dir=records --write

Prints them next to those of the manifest, with the minimum, the maximum and the share of zeros, which point to missing
data. With --write they replace those of the manifest, which training reads.
"""

from __future__ import annotations

import contextlib
import os

from absl import flags

from bigearth_tf.data.manifest import MANIFEST_NAME, write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.locks import hold_lock

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with a manifest and its shards.", required=True)
_SPLIT = flags.DEFINE_string("split", "train", "Split to read. Training should use the statistics of train only.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that read shards.", lower_bound=1)
_WRITE = flags.DEFINE_bool("write", False, "Write mean and standard deviation into the manifest.")


def main() -> None:
    """Computes and prints the statistics, and writes them with --write."""
    folder = ShardedDataset.open(_DATA_DIR.value).folder
    # Not while a conversion repairs the folder, which then lacks its manifest.
    with hold_lock(folder / ".lock", folder) if _WRITE.value else contextlib.nullcontext():
        _compute(ShardedDataset.open(folder))


def _compute(dataset: ShardedDataset) -> None:
    from tfrecord_tools.records.band_moments import compute_moments, describe_moments, replace_statistics

    moments = compute_moments(dataset, _SPLIT.value, _WORKERS.value)
    print(describe_moments(dataset.manifest.bands, moments))
    if _WRITE.value:
        write_manifest(replace_statistics(dataset.manifest, _SPLIT.value, moments), dataset.folder)
        print(
            f"wrote mean and std of {dataset.num_records(_SPLIT.value)} records into {dataset.folder / MANIFEST_NAME}"
        )


if __name__ == "__main__":
    run_command(main)
