"""Reads every record of a converted data set again, and reports PASS or what is wrong.

    python -m tfrecord_tools.verify --data_dir=records
    python -m tfrecord_tools.verify --data_dir=records --source=bigearthnet_v1 --s2=BigEarthNet-v1.0

Checks every record's checksum, schema and labels, and compares counts, patch ids, and every shard's size and SHA-256
with the manifest. With --source, and the same flags of the source as in the conversion, it also compares the list of
patches, their labels and attributes, and every pixel, bit by bit, with the files of the source.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from absl import flags

from bigearth_tf.data.manifest import RECONVERT, read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.command import run_command
from tfrecord_tools.source_flags import define_source_flags, read_source_inputs

define_source_flags(None, "Source to compare the records with; default: none.")

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with a manifest and its shards.", required=True)
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that compare with a source.", lower_bound=1)


def main() -> None:
    """Checks the data set, prints the result, and exits with 1 if anything is wrong."""
    # TensorFlow and GDAL are loaded here: --help must not wait for them.
    from tfrecord_tools.records.check_against_manifest import STRAY, verify
    from tfrecord_tools.records.compare_with_source import compare, require_same_source
    from tfrecord_tools.source import SourceInputs
    from tfrecord_tools.sources import open_source

    # Not `open`, which stops at the first shard that is missing.
    dataset = ShardedDataset(Path(_DATA_DIR.value), read_manifest(_DATA_DIR.value, check_shards=False))
    inputs = read_source_inputs()
    if inputs != SourceInputs() and not flags.FLAGS.source:
        raise ValueError("Flags of a source are given, but not which: name it with --source to compare with it.")
    source = open_source(flags.FLAGS.source, inputs) if flags.FLAGS.source else None
    if source:
        require_same_source(dataset, source)
    problems = verify(dataset)
    is_damaged = any(not problem.endswith(STRAY) for problem in problems)
    if source and not problems:
        problems = compare(dataset, source, _WORKERS.value)
    elif source:
        print("not compared with the source: the records are damaged")
    for problem in problems:
        print(problem)
    if is_damaged:
        print(RECONVERT)
    shards = dataset.shards()
    total = sum(shard.num_records for shard in shards)
    compared = ", compared with the source" if source else ""
    print(f"{'FAIL' if problems else 'PASS'}: {total} records in {len(shards)} shards of {dataset.folder}{compared}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    run_command(main)
