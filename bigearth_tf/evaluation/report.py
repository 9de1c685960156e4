"""What is there to say of a table of predictions? Every score with its interval, as one content of a JSON file.

A score is {"value", "low", "high"}: low and high are the bounds of its bootstrap interval. One that has no value is
{"value": null, "reason": ...}; there is no NaN.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation import bootstrap
from bigearth_tf.evaluation.calibration import calibration
from bigearth_tf.evaluation.confusion import errors_together
from bigearth_tf.evaluation.metrics import (
    RATIOS,
    Score,
    class_auroc,
    class_average_precision,
    compute_class_scores,
    compute_ranking_scores,
    compute_scores,
    confusion_matrix,
)
from bigearth_tf.evaluation.prediction_table import Predictions, check_finite
from bigearth_tf.evaluation.thresholds import tune_thresholds
from bigearth_tf.runtime.files import write_text_atomically

EVALUATION_NAME = "evaluation.json"
_SHARE = 0.95
_REASONS = {
    "average_precision": "no record has this class",
    "auroc": "none or all of the records have this class",
    "micro_average_precision": "no record has a class",
    "macro_average_precision": "no record has a class",
    "micro_auroc": "none or all of the classes are in all records",
    "macro_auroc": "of no class is there a record with it and one without",
}


def evaluate_table(
    table: Predictions,
    class_names: Sequence[str],
    label_kind: LabelKind = LabelKind.MULTI,
    *,
    validation: Optional[Predictions] = None,
    draws: int = 1000,
    ranking_draws: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns every score of a table.

    `decisions` holds what depends on thresholds, under "fixed" and, where `validation` is given, "tuned"; `ranking`
    what does not; `classes` both, by class. Thresholds are tuned on `validation` alone.

    Args:
        table: N records.
        class_names: K names.
        label_kind: Of the labels; thresholds are tuned for MULTI alone.
        validation: Other records, to tune thresholds on.
        draws: Of the bootstrap, for scores of decisions.
        ranking_draws: Of the bootstrap, for average precision and AUROC, which take longer: the first ones of `draws`.
        seed: Of the bootstrap.

    Raises:
        ValueError: A probability is no number from 0 to 1, or records are scored that thresholds are tuned on.
    """
    check_finite(table)
    thresholds = _choose_thresholds(table, validation if label_kind is LabelKind.MULTI else None)
    decisions, classes = _score_decisions(table, class_names, label_kind, thresholds, draws, seed)
    ranking, class_ranking = _score_rankings(table, class_names, ranking_draws, seed)
    calibrated = calibration(table.labels, table.probabilities, class_names, label_kind)
    calibration_errors = calibrated.pop("classes")
    return {
        "num_records": len(table.labels),
        "label_kind": label_kind,
        "labels_per_record": float(table.labels.sum(axis=1).mean()),
        "bootstrap": {
            "unit": "patch",
            "interval": _SHARE,
            "draws": draws,
            "draws_of_average_precision_and_auroc": ranking_draws,
            "seed": seed,
        },
        "decisions": decisions,
        "ranking": ranking,
        "calibration": calibrated,
        "classes": {
            name: {
                "support": int(support),
                **class_ranking[name],
                "expected_calibration_error": calibration_errors[name],
                **{kind: rows[name] for kind, rows in classes.items()},
            }
            for name, support in zip(class_names, table.labels.sum(axis=0))
        },
    }


def _choose_thresholds(table: Predictions, validation: Optional[Predictions]) -> dict[str, Any]:
    """Returns the thresholds by kind."""
    if validation is None:
        return {"fixed": THRESHOLD}
    check_finite(validation)
    if np.isin(validation.patch_ids, table.patch_ids).any():
        raise ValueError("Thresholds may not be tuned on the records that are scored: give another split.")
    return {"fixed": THRESHOLD, "tuned": tune_thresholds(validation.labels, validation.probabilities)}


def _score_decisions(
    table: Predictions,
    class_names: Sequence[str],
    label_kind: LabelKind,
    thresholds: dict[str, Any],
    draws: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns by kind of thresholds the scores of all and what goes wrong together, and the scores by class."""
    truth = table.labels.astype(bool)
    predicted = {kind: label_kind.decide(table.probabilities, value) for kind, value in thresholds.items()}
    sums = bootstrap.draw_sums([bootstrap.countable(truth, rows) for rows in predicted.values()], draws, seed)
    decisions, classes = {}, {}
    for (kind, threshold), kind_sums in zip(thresholds.items(), sums):
        options = {"threshold": threshold, "label_kind": label_kind}
        drawn, class_drawn = bootstrap.scores_of_sums(kind_sums, len(truth), label_kind)
        scores = compute_scores(table.labels, table.probabilities, **options)
        decisions[kind] = {"scores": {name: _score(scores[name], values) for name, values in drawn.items()}}
        if label_kind is LabelKind.SINGLE:
            decisions[kind]["confusion_matrix"] = confusion_matrix(table.labels, table.probabilities).tolist()
        else:
            decisions[kind]["errors"] = errors_together(table.labels, predicted[kind])
        rows = compute_class_scores(table.labels, table.probabilities, class_names, **options)
        classes[kind] = {
            name: {
                **({"threshold": rows[name]["threshold"]} if label_kind is LabelKind.MULTI else {}),
                **{ratio: _score(rows[name][ratio], class_drawn[ratio][:, index]) for ratio in RATIOS},
            }
            for index, name in enumerate(class_names)
        }
    return decisions, classes


def _score_rankings(
    table: Predictions, class_names: Sequence[str], draws: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the scores of rankings of all, and average precision and AUROC by class."""
    draw = functools.partial(bootstrap.draw_rankings, num_records=len(table.labels), draws=draws, seed=seed)
    by_class, micro = (draw(bootstrap.rank(table.labels, table.probabilities, kind)) for kind in ("class", "micro"))
    drawn: dict[str, np.ndarray] = {}
    for column, score in enumerate(("average_precision", "auroc")):
        drawn[f"micro_{score}"] = micro[:, 0, column]
        drawn[f"macro_{score}"] = bootstrap.mean_of_defined(by_class[:, :, column])
    scores = compute_ranking_scores(table.labels, table.probabilities)
    ranking = {name: _score(value, drawn.get(name), name) for name, value in scores.items()}
    pairs = zip(*(score(table.labels, table.probabilities) for score in (class_average_precision, class_auroc)))
    classes = {
        name: {
            "average_precision": _score(average_precision, by_class[:, index, 0], "average_precision"),
            "auroc": _score(auroc, by_class[:, index, 1], "auroc"),
        }
        for index, (name, (average_precision, auroc)) in enumerate(zip(class_names, pairs))
    }
    return ranking, classes


def _score(value: Score, drawn: Optional[np.ndarray] = None, name: str = "") -> dict[str, Any]:
    """Returns a score as the file holds it."""
    if value is None:
        return {"value": None, "reason": _REASONS.get(name, "there is one class only")}
    found = bootstrap.interval(drawn, _SHARE) if drawn is not None else None
    return {"value": value, **(dict(zip(("low", "high"), found)) if found else {})}


def write_evaluation(evaluation: dict[str, Any], folder: str | os.PathLike) -> None:
    """Writes `evaluation.json`, whole or not at all.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(evaluation, indent=1, ensure_ascii=False, allow_nan=False)
    write_text_atomically(Path(folder) / EVALUATION_NAME, text + "\n")
