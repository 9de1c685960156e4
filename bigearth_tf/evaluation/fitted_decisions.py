"""What is fitted on validation records for decisions: a threshold for each class, and a temperature."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.prediction_table import Predictions, check_probabilities
from bigearth_tf.evaluation.report_folder import EVALUATION_NAME
from bigearth_tf.evaluation.temperature import fit_temperature
from bigearth_tf.evaluation.thresholds import tune_thresholds

FITTED_ON = "val"


@dataclasses.dataclass(frozen=True)
class FittedDecisions:
    """What `num_records` records of the validation split decide.

    `thresholds` [K] apply to probabilities of temperature 1, in class order; None for single-label data. `temperature`
    divides the logits (see temperature.py).
    """

    num_records: int
    temperature: float
    thresholds: Optional[tuple[float, ...]]

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns the content of `fitted` in `evaluation.json`; thresholds by the name of the class."""
        named = {"thresholds": dict(zip(class_names, self.thresholds))} if self.thresholds else {}
        return {"split": FITTED_ON, "num_records": self.num_records, "temperature": self.temperature, **named}


def fit_decisions(validation: Predictions, label_kind: LabelKind) -> FittedDecisions:
    """Returns the thresholds with the best F1 of each class, and the temperature with the lowest cross-entropy.

    Args:
        validation: Predictions of the validation split.
        label_kind: Kind of the labels.

    Raises:
        ValueError: A probability is not a number from 0 to 1.
    """
    check_probabilities(validation)
    columns = validation.labels, validation.probabilities
    thresholds = tuple(map(float, tune_thresholds(*columns))) if label_kind is LabelKind.MULTI else None
    return FittedDecisions(len(validation.labels), fit_temperature(*columns, label_kind), thresholds)


def read_fitted_decisions(folder: str | os.PathLike, class_names: Sequence[str]) -> FittedDecisions:
    """Returns what an evaluation has fitted on the split val.

    Args:
        folder: Folder of an evaluation of any split.
        class_names: K names, those of the model.

    Raises:
        FileNotFoundError: The folder has no `evaluation.json`.
        ValueError: The evaluation has fitted nothing, or is of other classes.
    """
    path = Path(folder) / EVALUATION_NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing. Name the folder of an evaluation; experiments.evaluate writes one.")
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    fitted = evaluation.get("fitted")
    if fitted is None:
        raise ValueError(
            f"{path}: has nothing that was fitted on the split {FITTED_ON}: its data set had no such split, or an "
            "earlier version wrote it. Run `python -m experiments.evaluate` on a data set with this split."
        )
    if list(evaluation["classes"]) != list(class_names):
        raise ValueError(f"{path}: is an evaluation of other classes than the model's.")
    thresholds = fitted.get("thresholds")
    return FittedDecisions(
        fitted["num_records"],
        fitted["temperature"],
        tuple(thresholds[name] for name in class_names) if thresholds else None,
    )
