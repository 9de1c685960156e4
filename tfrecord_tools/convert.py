r"""Converts patch folders of BigEarthNet to sharded TFRecords with a manifest.

    python -m tfrecord_tools.convert --s2_dir=BigEarthNet-v1.0 --s1_dir=BigEarthNet-S1-v1.0 --output_dir=records

With --s1_dir alone or --s2_dir alone only that sensor is converted; with both a record holds the pair. Interrupted at
any point and started again, it goes on with the shards that are missing.
"""

from __future__ import annotations

import os
from pathlib import Path

from absl import flags

from bigearth_tf.labels import NOMENCLATURES
from bigearth_tf.manifest import MANIFEST_NAME
from bigearth_tf.runtime import run_command
from tfrecord_tools.patch_lists import EXCLUSION_LISTS

_S2_DIR = flags.DEFINE_string("s2_dir", None, "Folder of the Sentinel-2 patches.")
_S1_DIR = flags.DEFINE_string("s1_dir", None, "Folder of the Sentinel-1 patches.")
_LISTS_DIR = flags.DEFINE_string(
    "lists_dir", None, "Folder with lists of splits, exclusions and mates; default: the official ones."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write; made if need be.", required=True)
_NOMENCLATURE = flags.DEFINE_enum("nomenclature", "19", list(NOMENCLATURES), "Classes of the labels.")
_EXCLUDE = flags.DEFINE_list(
    "exclude", list(EXCLUSION_LISTS), f"Leave out patches for these reasons, of {', '.join(EXCLUSION_LISTS)}."
)
_PARTIAL = flags.DEFINE_bool("partial_archive", False, "Convert what is there although listed patches are missing.")
_SHARD_MB = flags.DEFINE_float("shard_mb", 128.0, "Wanted size of a shard in 10^6 bytes.", lower_bound=0.1)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", None, "Number of shards of each split, instead.", lower_bound=1)
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that write shards.", lower_bound=1)


def main() -> None:
    """Converts, as the flags say."""
    unknown = sorted(set(_EXCLUDE.value) - set(EXCLUSION_LISTS))
    if unknown:
        raise ValueError(f"--exclude={','.join(unknown)}: unknown; allowed are {', '.join(EXCLUSION_LISTS)}.")
    if not _S2_DIR.value and not _S1_DIR.value:
        raise ValueError("Name the patches with --s2_dir, --s1_dir, or both.")
    from tfrecord_tools.conversion import convert  # GDAL is loaded here: --help must not wait for it.

    manifest = convert(
        output_dir=Path(_OUTPUT_DIR.value),
        s2_dir=_S2_DIR.value,
        s1_dir=_S1_DIR.value,
        lists_dir=_LISTS_DIR.value,
        nomenclature=_NOMENCLATURE.value,
        exclude=_EXCLUDE.value,
        partial_archive=_PARTIAL.value,
        shard_mb=_SHARD_MB.value,
        num_shards=_NUM_SHARDS.value,
        workers=_WORKERS.value,
    )
    for split in manifest.splits:
        print(f"{split}: {manifest.num_records(split)} records in {len(manifest.split_shards(split))} shards")
    for reason, count in manifest.exclusions.items():
        print(f"left out, {reason}: {count}")
    print(f"wrote {Path(_OUTPUT_DIR.value) / MANIFEST_NAME}")


if __name__ == "__main__":
    run_command(main)
