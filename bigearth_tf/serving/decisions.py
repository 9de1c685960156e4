"""How an export turns logits into probabilities and predicted classes: temperature and thresholds."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Optional

import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.fitted_decisions import FITTED_ON, FittedDecisions, read_fitted_decisions
from bigearth_tf.evaluation.report_folder import EVALUATION_NAME
from bigearth_tf.evaluation.temperature import scale_probabilities
from bigearth_tf.runs.work_folder import FinishedRun


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The decisions of an export.

    `temperature` divides the logits. `thresholds` are those of the classes, in their order, for the probabilities that
    the export returns; None if all are 0.5, or if the most probable class is predicted. `origin` says where both were
    fitted.
    """

    label_kind: LabelKind = LabelKind.MULTI
    temperature: float = 1.0
    thresholds: Optional[tuple[float, ...]] = None
    origin: Optional[dict[str, Any]] = None


def choose_decisions(run: FinishedRun, evaluation_dir: str | os.PathLike | None, calibrate: bool) -> Decisions:
    """Returns the decisions of an export of a run.

    Args:
        run: The run.
        evaluation_dir: Folder of an evaluation of the run; None for the threshold 0.5 and the temperature 1.
        calibrate: Apply the temperature that the evaluation has fitted.

    Raises:
        FileNotFoundError: The folder has no evaluation.
        ValueError: The evaluation is not one of this run, or has fitted nothing; or there is no evaluation to calibrate
            by.
    """
    label_kind = run.settings.dataset.label_kind
    if evaluation_dir is None:
        if calibrate:
            raise ValueError("--calibrate needs a temperature: name an evaluation of this run with --thresholds.")
        return Decisions(label_kind)
    fitted = read_fitted_decisions(evaluation_dir, run.class_names)
    about = json.loads((Path(evaluation_dir) / EVALUATION_NAME).read_text(encoding="utf-8"))["about"]
    _check_same_run(run, about, evaluation_dir)
    temperature = fitted.temperature if calibrate else 1.0
    origin = {
        "evaluation": os.fspath(evaluation_dir),
        "dataset": about["dataset"],
        "split": FITTED_ON,
        "num_records": fitted.num_records,
    }
    return Decisions(label_kind, temperature, _scale_thresholds(fitted, temperature, label_kind), origin)


def _check_same_run(run: FinishedRun, about: dict[str, Any], evaluation_dir: str | os.PathLike) -> None:
    if about["weights_sha256"] != run.hash_weights():
        raise ValueError(
            f"{evaluation_dir}: is the evaluation of other weights ({about['model']}, trained on "
            f"{about['trained_on']['source']}). Run `python -m experiments.evaluate` on this run."
        )


def _scale_thresholds(
    fitted: FittedDecisions, temperature: float, label_kind: LabelKind
) -> Optional[tuple[float, ...]]:
    """Returns the thresholds that decide the same about probabilities of this temperature."""
    if fitted.thresholds is None or temperature == 1.0:
        return fitted.thresholds
    return tuple(map(float, scale_probabilities(np.array(fitted.thresholds), temperature, label_kind)))
