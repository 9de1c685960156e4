"""Reads a converted data set again, whole, and says PASS or what is wrong with it.

    python -m tfrecord_tools.verify --data_dir=records

Every record's checksum and schema, label ranges, counts, unique patch ids, and every shard's size and SHA-256 are held
against the manifest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from bigearth_tf.manifest import read_manifest
from bigearth_tf.runtime import run_command

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with a manifest and its shards.", required=True)


def main() -> None:
    """Verifies, prints what was found, and exits with 1 where something is wrong."""
    from tfrecord_tools.verification import verify  # TensorFlow is loaded here: --help must not wait for it.

    folder = Path(_DATA_DIR.value)
    manifest = read_manifest(folder)
    problems = verify(folder, manifest)
    for problem in problems:
        print(problem)
    total = sum(shard.num_records for shard in manifest.shards)
    print(f"{'FAIL' if problems else 'PASS'}: {total} records in {len(manifest.shards)} shards of {folder}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    run_command(main)
