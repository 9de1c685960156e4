"""Prediction of any number of patches into a folder, in bounded memory; a run that was killed resumes.

The folder gets `predictions.parquet/` (see prediction_parts.py), `problems.csv` with the inputs that could not be
predicted, `predictions.csv` on request, and `predictions.json`, which says what was predicted by which model.

    from bigearth_tf.serving.prediction_folder import predict_to_folder
    from bigearth_tf.serving.predictor import Predictor
    predict_to_folder(Predictor("model"), ListedPatches(names, read_one), "predictions")
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from bigearth_tf.runtime.files import atomic_file, write_json_atomically
from bigearth_tf.runtime.locks import hold_lock
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.provenance import package_versions
from bigearth_tf.serving.model_inputs import check_threshold, hash_export
from bigearth_tf.serving.patch_inputs import InputItem, InputPatch, InputProblem, PatchInputs
from bigearth_tf.serving.prediction_parts import TABLE_NAME, PredictionParts

if TYPE_CHECKING:  # Loads TensorFlow, which the checks before a prediction do not need.
    from bigearth_tf.serving.predictor import Predictor

ABOUT_NAME = "predictions.json"
PROBLEMS_NAME = "problems.csv"
CSV_NAME = "predictions.csv"


@dataclasses.dataclass(frozen=True)
class PredictionOptions:
    """How patches are predicted.

    - `threshold`: probability from which a class is predicted, for multi-label models; None for that of the model.
    - `batch_size`: patches that are predicted at a time; at most three batches are in memory.
    - `part_size`: inputs of a part of the table, the most that a killed run predicts again.
    - `strict`: end at the first input that cannot be predicted.
    - `csv`: write predictions.csv too.
    """

    threshold: Optional[float] = None
    batch_size: int = 64
    part_size: int = 1024
    strict: bool = False
    csv: bool = False


@dataclasses.dataclass(frozen=True)
class PredictionResult:
    """What is in the folder: the parts of the table, and the numbers of patches and of problems."""

    parts: PredictionParts
    num_patches: int
    num_problems: int
    first_problem: Optional[InputProblem]


def predict_to_folder(
    predictor: Predictor,
    inputs: PatchInputs,
    output_dir: str | os.PathLike,
    options: PredictionOptions = PredictionOptions(),
) -> PredictionResult:
    """Predicts all inputs, or those that an earlier run of the same command has not predicted.

    Args:
        predictor: An exported model.
        inputs: What to predict.
        output_dir: Folder to create or to resume.
        options: Options.

    Raises:
        ValueError: The folder has predictions of other inputs, of another model or with other options, or is in use;
            an input is broken and `options.strict`; or no input could be predicted.
        OSError: The folder cannot be written.
    """
    check_threshold(options.threshold, predictor.label_kind)
    folder = Path(output_dir)
    parts = PredictionParts(folder / TABLE_NAME, predictor.class_names, predictor.label_kind, inputs.attributes)
    parts.path.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / ".lock", folder):
        about = check_output_folder(folder, predictor.folder, inputs, options)
        if not (folder / ABOUT_NAME).exists():
            origin = {"model_dir": os.fspath(predictor.folder), "versions": package_versions()}
            write_json_atomically(folder / ABOUT_NAME, {**about, **origin})
        for leftover in parts.path.glob(".*.tmp"):  # Of a run that was killed.
            leftover.unlink()
        _write_parts(predictor, inputs, parts, options)
        problems = _write_problems(parts, folder / PROBLEMS_NAME)
        if options.csv:
            parts.write_csv(folder / CSV_NAME)
    result = PredictionResult(parts, parts.count_rows(), problems[1], problems[0])
    if not result.num_patches:
        raise ValueError(
            f"None of the {result.num_problems} inputs could be predicted; {folder / PROBLEMS_NAME} says why. "
            f"The first: {result.first_problem.problem if result.first_problem else 'there is none'}"
        )
    return result


def check_output_folder(
    output_dir: str | os.PathLike, model_dir: str | os.PathLike, inputs: PatchInputs, options: PredictionOptions
) -> dict[str, Any]:
    """Returns what identifies the rows of a table, after comparing it with what a folder has.

    Raises:
        ValueError: The folder has predictions of other inputs, of another model or with other options.
    """
    about = {
        "model_sha256": hash_export(model_dir),
        "inputs": {**inputs.identity, "num_inputs": len(inputs)},
        "options": {"threshold": options.threshold, "part_size": options.part_size},
    }
    about = json.loads(json.dumps(about))  # As it is read back: tuples are lists.
    path = Path(output_dir) / ABOUT_NAME
    if not path.exists():
        return about
    found = json.loads(path.read_text(encoding="utf-8"))
    different = [key for key, value in about.items() if found.get(key) != value]
    if different:
        details = "; ".join(f"{key} were {found.get(key)}, are now {about[key]}" for key in different)
        raise ValueError(
            f"{output_dir}: has predictions that differ in {', '.join(different)}. Name another --output_dir, or "
            f"delete this folder. ({details})"
        )
    return about


def _write_parts(predictor: Predictor, inputs: PatchInputs, parts: PredictionParts, options: PredictionOptions) -> None:
    """Predicts the parts that are not there yet, in order."""
    done = min(parts.count_done(), -(-len(inputs) // options.part_size))
    starts = range(done * options.part_size, len(inputs), options.part_size)
    sizes = [min(options.part_size, len(inputs) - start) for start in starts]
    batches = _read_ahead(inputs.read(done * options.part_size) if sizes else iter(()), sizes, options.batch_size)
    with progress_bar(len(inputs), "predict", "patch", initial=len(inputs) - sum(sizes)) as bar:
        for number, size in enumerate(sizes, start=done):
            patches: list[InputPatch] = []
            problems: list[InputProblem] = []
            rows = [np.zeros((0, len(predictor.class_names)), np.float32)]
            for _ in range(0, size, options.batch_size):
                batch = next(batches)
                predicted, probabilities, broken = _predict_batch(predictor, batch)
                if broken and options.strict:
                    raise ValueError(f"{broken[0].problem} (--strict ends at the first input that is broken.)")
                patches += predicted
                rows.append(probabilities)
                problems += broken
                bar.update(len(batch))
            table = np.concatenate(rows)
            parts.write(number, patches, table, decide(predictor, table, options.threshold), problems)


def _read_ahead(items: Iterator[InputItem], sizes: Iterable[int], batch_size: int) -> Iterator[list[InputItem]]:
    """Yields batches that never cross the border of a part; a thread reads the next one meanwhile."""
    counts = [min(batch_size, size - start) for size in sizes for start in range(0, size, batch_size)]
    with ThreadPoolExecutor(1, "read") as pool:
        pending = None
        for count in [*counts, 0]:
            following = pool.submit(_take, items, count) if count else None
            if pending is not None:
                yield pending.result()
            pending = following


def _take(items: Iterator[InputItem], count: int) -> list[InputItem]:
    return list(itertools.islice(items, count))


def _predict_batch(
    predictor: Predictor, batch: Sequence[InputItem]
) -> tuple[list[InputPatch], np.ndarray, list[InputProblem]]:
    """Returns the patches that were predicted, their probabilities, and the problems."""
    fitting: list[InputPatch] = []
    problems: list[InputProblem] = []
    for item in batch:
        problem = item if isinstance(item, InputProblem) else _find_problem(predictor, item)
        if problem is not None:
            problems.append(problem)
        elif isinstance(item, InputPatch):
            # Without the bands that the model does not take.
            fitting.append(dataclasses.replace(item, bands={name: item.bands[name] for name in predictor.inputs}))
    if not fitting:
        return [], np.zeros((0, len(predictor.class_names)), np.float32), problems
    probabilities = predictor.predict_batch(
        {name: np.stack([patch.bands[name] for patch in fitting]) for name in predictor.inputs}
    )
    sound = ((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    problems += [
        InputProblem(patch.patch_id, f"{patch.patch_id}: its probabilities are not numbers between 0 and 1.")
        for patch, is_sound in zip(fitting, sound)
        if not is_sound
    ]
    # Their pixels are not needed any more.
    kept = [dataclasses.replace(patch, bands={}) for patch, is_sound in zip(fitting, sound) if is_sound]
    return kept, probabilities[sound], problems


def _find_problem(predictor: Predictor, patch: InputPatch) -> InputProblem | None:
    try:
        predictor.check_patch(patch.bands)
    except ValueError as error:
        return InputProblem(patch.patch_id, f"{patch.patch_id}: {error}")
    if patch.no_data >= 1:
        return InputProblem(patch.patch_id, f"{patch.patch_id}: contains no data: every pixel is 0 or missing.")
    return None


def decide(predictor: Predictor, probabilities: np.ndarray, threshold: float | None) -> np.ndarray:
    """Returns the predicted classes, bool [N, K], by a threshold or by those of the model."""
    if threshold is None:
        return predictor.decide(probabilities)
    return predictor.label_kind.decide(probabilities, threshold)


def list_thresholds(predictor: Predictor, threshold: float | None) -> dict[str, float] | None:
    """Returns the threshold of each class, that of a user or those of the model; None without thresholds."""
    if predictor.thresholds is None:
        return None
    values = predictor.thresholds.tolist() if threshold is None else [threshold] * len(predictor.class_names)
    return dict(zip(predictor.class_names, values))


def _write_problems(parts: PredictionParts, path: Path) -> tuple[InputProblem | None, int]:
    """Writes the problems of all parts as CSV; returns the first of them and their number."""
    first, count = None, 0
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["input", "problem"])
        for problem in parts.read_problems():
            first, count = first or problem, count + 1
            writer.writerow([problem.name, problem.problem])
    return first, count
