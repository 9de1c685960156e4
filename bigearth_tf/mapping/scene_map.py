"""The map of a scene: probabilities of each class, most probable class, picture, and where they come from."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from bigearth_tf.mapping.options import MapOptions
from bigearth_tf.mapping.part_files import claim_folder, missing_parts, require_same_plan
from bigearth_tf.mapping.plan import MapPlan, plan_map
from bigearth_tf.mapping.windows import Part
from bigearth_tf.runtime.files import write_json_atomically
from bigearth_tf.runtime.locks import LockHeld, hold_lock
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.provenance import git_commit, package_versions


@dataclasses.dataclass(frozen=True)
class SceneMap:
    """A map that is complete.

    `probabilities` and `top` are GeoTIFFs: a band a class, in percent, and the most probable class. `picture` is a PNG
    of `top`; `record` is JSON that says where the map comes from. `shares` maps each class to its share of the area
    with data.
    """

    probabilities: Path
    top: Path
    picture: Path
    record: Path
    shares: dict[str, float]


def map_scene(
    model_dir: str | os.PathLike,
    scene: str | os.PathLike,
    output: str | os.PathLike,
    options: MapOptions | None = None,
) -> SceneMap | None:
    """Maps a scene with an exported model; resumes a map that was interrupted, and returns one that is complete.

    Args:
        model_dir: Folder of the SavedModel.
        scene: A .SAFE folder or its zip, a folder or zip with a file per band, or a file with several bands.
        output: The GeoTIFF of probabilities to write, such as map.tif; the other files are named after it.
        options: How it is mapped.

    Returns:
        The map; None if other tasks have parts of it left, or are writing it.

    Raises:
        FileNotFoundError: There is no model or no scene.
        ValueError: The scene does not fit the model, an option is out of range, `output` is another map, or another
            process computes the same.
        OSError: A file cannot be read or written.
    """
    options = options or MapOptions()
    output = Path(output).expanduser()
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"--output={output}: expected the name of a GeoTIFF, such as map.tif.")
    plan = plan_map(model_dir, scene, options)
    result = _Result(output)
    if complete := result.read(plan):
        return complete
    claim_folder(result.work_folder, plan.identity, output)
    try:
        _compute_parts(plan, result, options)
        return _finish(plan, result, os.fspath(scene))
    except FileNotFoundError:
        if complete := result.read(plan):  # Another process has completed the map and removed the work folder.
            return complete
        raise


class _Result:
    """The files of a map."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.work_folder = output.with_name(f"{output.stem}.parts")
        self.top = output.with_name(f"{output.stem}_top{output.suffix}")
        self.picture, self.record = output.with_suffix(".png"), output.with_suffix(".json")

    def read(self, plan: MapPlan) -> SceneMap | None:
        """Returns the map if it is complete.

        Raises:
            ValueError: There is a map of something else, or another file.
        """
        if not self.record.exists():
            found = [path for path in (self.output, self.top, self.picture) if path.exists()]
            if found and not self.work_folder.exists():
                raise ValueError(
                    f"{found[0]}: exists and has no {self.record.name}. Name another --output, or delete it."
                )
            return None
        content = json.loads(self.record.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "map_of" not in content:
            raise ValueError(f"{self.record}: is another file. Name another --output.")
        require_same_plan(content["map_of"], plan.identity, self.record, self.output)
        return SceneMap(self.output, self.top, self.picture, self.record, content["shares"])

    def move_from(self, folder: Path) -> None:
        """Moves the files of the map from a folder on the same disk to their place."""
        for path in (self.output, self.top, self.top.with_name(f"{self.top.name}.aux.xml"), self.picture):
            with (folder / path.name).open("rb") as file:
                os.fsync(file.fileno())
            (folder / path.name).replace(path)


def _compute_parts(plan: MapPlan, result: _Result, options: MapOptions) -> None:
    """Computes the parts of this task that are missing."""
    folder, index, count = result.work_folder, options.task_index, options.num_tasks
    with hold_lock(folder / "lock", result.output, shared=count > 1):
        parts = plan.grid.parts()
        mine = parts[index * len(parts) // count : (index + 1) * len(parts) // count]
        if count == 1:
            _predict(plan, folder, missing_parts(folder, mine), options)
            return
        with hold_lock(folder / f"task-{index}-of-{count}", f"{result.output}, task {index} of {count}"):
            _predict(plan, folder, missing_parts(folder, mine), options)


def _predict(plan: MapPlan, folder: Path, parts: Sequence[Part], options: MapOptions) -> None:
    if not parts:
        return
    # TensorFlow takes seconds to load: not before all is checked, and not where nothing is left to compute.
    from bigearth_tf.mapping.predict_windows import PredictOptions, predict_parts
    from bigearth_tf.serving.predictor import Predictor

    predictor = Predictor(plan.model_dir)
    num_windows = sum((part.end_row - part.first_row) * (part.end_column - part.first_column) for part in parts)
    with progress_bar(num_windows, "map", "window") as progress:
        predict_options = PredictOptions(
            folder=folder,
            num_classes=len(plan.class_names),
            batch_size=options.batch_size,
            masked_classes=options.scl_classes if options.mask_scl else (),
            report=progress.update,
        )
        predict_parts(predictor.predict_batch, plan.scene_input, plan.grid, parts, predict_options)


def _finish(plan: MapPlan, result: _Result, scene: str) -> SceneMap | None:
    """Writes the files of the map if all parts are there, unless another process does."""
    folder = result.work_folder
    if complete := result.read(plan):  # The last other task has written it in the meantime.
        return complete
    missing = missing_parts(folder, plan.grid.parts())
    if missing:
        logging.info("%s: %s parts are left to other tasks", result.output, len(missing))
        return None
    try:
        with hold_lock(folder / "writing", result.output):
            if not (complete := result.read(plan)):
                _write(plan, result, scene)
                complete = result.read(plan)
    except LockHeld as held:
        logging.info("%s", held)
        return None
    shutil.rmtree(folder, ignore_errors=True)
    return complete


def _write(plan: MapPlan, result: _Result, scene: str) -> None:
    from bigearth_tf.mapping.quick_look import draw_quick_look
    from bigearth_tf.mapping.write_map import MapFiles, write_map

    drafts = result.work_folder / "drafts"
    shutil.rmtree(drafts, ignore_errors=True)
    drafts.mkdir()
    files = MapFiles(drafts / result.output.name, drafts / result.top.name)
    with progress_bar(100, "write", "%") as progress:
        counts = write_map(
            result.work_folder, plan.scene_input, plan.grid, plan.class_names, files,
            lambda share: progress.update(int(100 * share) - progress.n),
        )  # fmt: skip
        progress.update(100 - progress.n)
    if not sum(counts):
        raise ValueError(
            f"{scene}: no pixel has data in every band that the model takes, or all are masked: there is no map. Is "
            "the no-data value of its files right? gdal_edit -a_nodata changes it."
        )
    title = f"{plan.identity['scene']['name']}\n{plan.identity['model']['name']}"
    draw_quick_look(drafts / result.picture.name, files.top, plan.class_names, counts, title)
    result.move_from(drafts)
    write_json_atomically(result.record, _record(plan, counts, scene))


def _record(plan: MapPlan, counts: Sequence[int], scene: str) -> dict[str, Any]:
    total = max(1, sum(counts))
    return {
        "map_of": plan.identity,
        "scene_path": scene,
        "model_dir": os.fspath(plan.model_dir),
        "class_names": list(plan.class_names),
        "num_windows": plan.grid.num_windows,
        "num_pixels_with_data": sum(counts),
        "shares": {name: count / total for name, count in zip(plan.class_names, counts)},
        "versions": package_versions(),
        "git_commit": git_commit(),
    }
