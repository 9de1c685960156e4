"""Makes synthetic patches in the archive layout of BigEarthNet v1, for whoever has not the 66 GB at hand.

    python -m tfrecord_tools.synthesize --output_dir=synthetic --num_patches=400 --s1

Writes `BigEarthNet-v1.0/`, `BigEarthNet-S1-v1.0/` and `lists/`. The same seed makes the same patches, whatever the
number of workers; started again, only what is missing is made.
"""

from __future__ import annotations

import os

from absl import flags

from bigearth_tf.runtime.command import run_command

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write; made if need be.", required=True)
_NUM_PATCHES = flags.DEFINE_integer("num_patches", 400, "How many patches.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed makes other patches.", lower_bound=0)
_S1 = flags.DEFINE_bool("s1", False, "Make the Sentinel-1 mates too.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that make patches.", lower_bound=1)


def main() -> None:
    """Makes the patches that the flags ask for."""
    from tfrecord_tools.synthetic.synthetic_patches import (
        synthesize_archive,  # GDAL is loaded here: --help must not wait for it.
    )

    written = synthesize_archive(
        _OUTPUT_DIR.value, _NUM_PATCHES.value, _SEED.value, with_s1=_S1.value, workers=_WORKERS.value
    )
    print(f"{_NUM_PATCHES.value} patches in {_OUTPUT_DIR.value}, {written} of them new")


if __name__ == "__main__":
    run_command(main)
