"""Writes a manifest for int64 TFRecords of BigEarthNet-19, so that training reads them in place.

    python -m tfrecord_tools.adopt --data_dir=folder

The folder contains `train_00.tfrecord ... val_00.tfrecord ... test_00.tfrecord ...`, of Sentinel-2 or of both sensors.
Every record is read once and checked; then manifest.json is written next to the shards, and nothing else is changed.
A record without labels stays in the data set. `python -m tfrecord_tools.convert --source=int64_tfrecords` leaves such
records out, counts them, and rewrites the others to records that are read faster.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.command import run_command

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the int64 TFRecords.", required=True)


def main() -> None:
    """Adopts the folder, and prints what it contains."""
    # TensorFlow is loaded here: --help must not wait for it.
    from tfrecord_tools.records.int64_manifest import adopt_int64_records

    folder = Path(_DATA_DIR.value)
    path = folder / MANIFEST_NAME
    existed = path.exists()
    manifest = adopt_int64_records(folder)
    print(manifest.summary())
    print(f"bands: {','.join(band.name for band in manifest.bands)}")
    print(f"{path} already existed; nothing was read again" if existed else f"wrote {path}")


if __name__ == "__main__":
    run_command(main)
