"""Maps the land cover of a whole scene with an exported model.

    python -m experiments.map_scene --model_dir=runs/demo/model --scene=scene.SAFE --output=map.tif

Writes the probability of each class (map.tif) and the most probable class (map_top.tif) as Cloud Optimized GeoTIFF, a
picture (map.png), and where the map comes from (map.json). After an interruption, the same command resumes. Several
tasks share the work with --task_index and --num_tasks, whose defaults are SLURM's array variables; the last one writes
the map.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.runtime.array_task import find_task
from bigearth_tf.runtime.command import run_command

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the SavedModel.", required=True)
_SCENE = flags.DEFINE_string(
    "scene", None, "A .SAFE folder or its zip, a folder or zip with a file per band, or a GeoTIFF or VRT with several.",
    required=True,
)  # fmt: skip
_OUTPUT = flags.DEFINE_string("output", None, "GeoTIFF of probabilities to write, such as map.tif.", required=True)
_STRIDE = flags.DEFINE_integer("stride", None, "Pixels from window to window; default: half a patch.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Windows that are predicted at a time.")
_BAND_ORDER = flags.DEFINE_list(
    "band_order", [], "Names of the bands of a file that does not name them, in its order; - for a band to ignore."
)
_DN_OFFSET = flags.DEFINE_integer(
    "dn_offset", None, "What to add to digital numbers, 0 or -1000, where the scene does not state it."
)
_MASK_SCL = flags.DEFINE_bool("mask_scl", False, "Leave out clouds, after the scene classification of the product.")
_SCL_CLASSES = flags.DEFINE_list(
    "scl_classes", ["3", "8", "9", "10"], "Classes that --mask_scl leaves out: cloud shadow, clouds, thin cirrus."
)
flags.register_validator(
    _SCL_CLASSES, lambda values: all(value.isdigit() for value in values), "expected numbers, such as 3,8,9,10"
)
_TASK_INDEX = flags.DEFINE_integer("task_index", None, "Index of this task, from 0; default: SLURM's array task.")
_NUM_TASKS = flags.DEFINE_integer(
    "num_tasks", None, "Number of tasks that share the work; default: SLURM's array tasks, or 1."
)


def main() -> None:
    """Maps the scene, or one task's part of it."""
    from bigearth_tf.runtime.preconditions import require_packages, require_writable

    task_index, num_tasks = find_task(_TASK_INDEX.value, _NUM_TASKS.value)
    require_packages("osgeo", "tensorflow")
    require_writable(Path(_OUTPUT.value).parent)
    # GDAL is loaded here: --help must not wait for it.
    from bigearth_tf.mapping import MapOptions, map_scene

    options = MapOptions(
        stride_px=_STRIDE.value,
        batch_size=_BATCH_SIZE.value,
        band_order=tuple(_BAND_ORDER.value),
        dn_offset=_DN_OFFSET.value,
        mask_scl=_MASK_SCL.value,
        scl_classes=tuple(int(value) for value in _SCL_CLASSES.value),
        task_index=task_index,
        num_tasks=num_tasks,
    )
    made = map_scene(_MODEL_DIR.value, _SCENE.value, _OUTPUT.value, options)
    if made is None:
        print(f"task {task_index} of {num_tasks} is done; the last task writes the map")
        return
    for name, share in sorted(made.shares.items(), key=lambda item: -item[1])[:5]:
        print(f"{share:7.1%}  {name}")
    print(f"map: {made.probabilities}, {made.top}, {made.picture}, {made.record}")


if __name__ == "__main__":
    run_command(main)
