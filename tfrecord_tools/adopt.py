"""Takes over published int64 TFRecords of BigEarthNet-19 where they lie, so that training reads them in place.

    python -m tfrecord_tools.adopt --data_dir=folder

The folder holds `train_00.tfrecord ... val_00.tfrecord ... test_00.tfrecord ...`, of Sentinel-2 or of both sensors.
Every record is read once and checked; then manifest.json is written beside them, and nothing else is changed.
`python -m tfrecord_tools.convert --source=int64_tfrecords` rewrites them, to be read faster.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.command import run_command

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of published shards.", required=True)


def main() -> None:
    """Adopts the folder, and prints what it holds."""
    from tfrecord_tools.records.int64_manifest import (
        adopt_int64_records,  # TensorFlow is loaded here: --help must not wait for it.
    )

    folder = Path(_DATA_DIR.value)
    path = folder / MANIFEST_NAME
    is_there = path.exists()
    manifest = adopt_int64_records(folder)
    print(manifest.summary())
    print(f"bands: {','.join(band.name for band in manifest.bands)}")
    print(f"{path} was there already; nothing was read again" if is_there else f"wrote {path}")


if __name__ == "__main__":
    run_command(main)
