"""Creates a synthetic Sentinel-2 scene whose true classes are known, to try maps on.

    python -m tfrecord_tools.synthesize_scene --output_dir=scene

Writes a GeoTIFF per band into `bands/`, and `truth.tif`: the true class of each pixel. The scene consists of square
fields of one class each.
"""

from __future__ import annotations

from absl import flags

from bigearth_tf.runtime.command import run_command

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write.", required=True)
_FIELDS = flags.DEFINE_integer("fields", 4, "Fields along a side; a field is 3.6 km wide.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives another scene.", lower_bound=0)


def main() -> None:
    """Writes the scene."""
    # GDAL is loaded here: --help must not wait for it.
    from tfrecord_tools.synthetic.synthetic_scene import write_scene

    print(f"wrote {write_scene(_OUTPUT_DIR.value, _FIELDS.value, _SEED.value)}: bands, truth.tif")


if __name__ == "__main__":
    run_command(main)
