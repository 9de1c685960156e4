"""Scores a map of classes against a reference map on the same grid.

    python -m experiments.score_map --map=map_top.tif --reference=truth.tif

Classes are matched by name: both files have category names, as experiments.map_scene writes them.
"""

from __future__ import annotations

from absl import flags

from bigearth_tf.runtime.command import run_command

_MAP = flags.DEFINE_string("map", None, "GeoTIFF of classes, such as the map_top.tif of map_scene.", required=True)
_REFERENCE = flags.DEFINE_string("reference", None, "GeoTIFF of the true classes.", required=True)


def main() -> None:
    """Prints the scores."""
    # GDAL is loaded here: --help must not wait for it.
    from bigearth_tf.mapping.score_map import score_map

    scores = score_map(_MAP.value, _REFERENCE.value)
    print(f"{'F1':>6}  class")
    for name, f1 in scores.f1.items():
        print(f"{f1:6.3f}  {name}")
    print(
        f"{scores.num_pixels:,} pixels: accuracy {scores.accuracy:.3f}; a map of one class everywhere: "
        f"{scores.constant_accuracy:.3f}"
    )


if __name__ == "__main__":
    run_command(main)
