"""Creates synthetic patches in the archive layout of BigEarthNet v1, for users without the 66 GB of the archive.

    python -m tfrecord_tools.synthesize --output_dir=synthetic --num_patches=400 --s1

Writes `BigEarthNet-v1.0/`, `BigEarthNet-S1-v1.0/` and `lists/`. The same seed gives the same patches, whatever the
number of workers. Started again, the command writes only what is missing.
"""

from __future__ import annotations

import os

from absl import flags

from bigearth_tf.runtime.command import run_command

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write; created if missing.", required=True)
_NUM_PATCHES = flags.DEFINE_integer("num_patches", 400, "Number of patches.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives other patches.", lower_bound=0)
_S1 = flags.DEFINE_bool("s1", False, "Write the Sentinel-1 patch of each pair too.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that write patches.", lower_bound=1)


def main() -> None:
    """Writes the patches that are missing, and prints their number."""
    # GDAL is loaded here: --help must not wait for it.
    from tfrecord_tools.synthetic.synthetic_patches import synthesize_archive

    written = synthesize_archive(
        _OUTPUT_DIR.value, _NUM_PATCHES.value, _SEED.value, with_s1=_S1.value, workers=_WORKERS.value
    )
    print(f"{_NUM_PATCHES.value} patches in {_OUTPUT_DIR.value}, {written} of them new")


if __name__ == "__main__":
    run_command(main)
