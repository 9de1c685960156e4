"""Evaluation of a finished run on a split: predictions, scores, and a report as files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.distributed.consensus import run_on_all_ranks
from bigearth_tf.distributed.folder_lock import lock_folder
from bigearth_tf.distributed.replica import Replica, convert_lost_rank_errors
from bigearth_tf.evaluation.fitted_decisions import FITTED_ON, fit_decisions
from bigearth_tf.evaluation.predict_run import RunPredictions, predict_run
from bigearth_tf.evaluation.prediction_table import PREDICTIONS_NAME, write_predictions
from bigearth_tf.evaluation.report import (
    EvaluationOptions,
    evaluate_table,
    tuned_thresholds,
    write_evaluation,
)
from bigearth_tf.evaluation.report_folder import EVALUATION_NAME, choose_report_folder
from bigearth_tf.runtime.files import write_text_atomically

TEXT_NAME = "evaluation.md"


@dataclasses.dataclass(frozen=True)
class WrittenReport:
    """A report in a folder: the content of its `evaluation.json`, and the names of all of its files."""

    folder: Path
    evaluation: dict[str, Any]
    files: tuple[str, ...]


def evaluate_run(
    workdir: str | os.PathLike,
    data_dir: str | os.PathLike,
    split: str,
    replica: Replica,
    output: Optional[str] = None,
    options: EvaluationOptions = EvaluationOptions(),  # noqa: B008 - frozen
) -> Optional[WrittenReport]:
    """Evaluates a run's best checkpoint on a split; rank 0 writes the report and returns it, other ranks return None.

    Args:
        workdir: Folder of the run, which all ranks can read.
        data_dir: Folder of the data set, which may differ from that of the training.
        split: Split to score; thresholds and temperature are fitted on the split val.
        replica: This rank.
        output: Folder of the report; `<workdir>/evaluation/<split>` by default.
        options: Options of the bootstrap.

    Raises:
        FileNotFoundError: The run has not finished, or the data set has no manifest.
        ValueError: The data set does not fit the model, or the folder holds the evaluation of other records, or another
            process writes into it.
        ConnectionError: Another rank ended.
    """
    with convert_lost_rank_errors(replica):
        folder = run_on_all_ranks(lambda: choose_report_folder(workdir, data_dir, split, output), replica)
        with lock_folder(folder, replica):
            predicted = predict_run(workdir, data_dir, split, replica, watch_dir=folder)
            return write_report(predicted, folder, options) if replica.is_chief else None


def write_report(predicted: RunPredictions, folder: Path, options: EvaluationOptions) -> WrittenReport:
    """Scores predictions, and writes `predictions.parquet`, plots, `evaluation.md` and `evaluation.json`.

    `evaluation.json` is written last.
    """
    # matplotlib is imported here: only rank 0 of an evaluation draws plots.
    from bigearth_tf.evaluation.report_markdown import format_evaluation
    from bigearth_tf.evaluation.report_plots import plot_evaluation

    scores = evaluate_table(predicted.scored, predicted.validation, options)
    evaluation = {"about": predicted.about, **scores}
    if predicted.about["split"] == FITTED_ON:
        # Nothing here is scored by it: it is for other records, such as those that an export will predict.
        table, names = predicted.scored.table, predicted.scored.class_names
        evaluation["fitted"] = fit_decisions(table, predicted.scored.label_kind).to_json(names)
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(predicted.scored, folder / PREDICTIONS_NAME, tuned_thresholds(evaluation))
    pictures = plot_evaluation(folder, predicted.scored.table, evaluation)
    write_text_atomically(
        folder / TEXT_NAME, format_evaluation(evaluation, [name for name in pictures if name.endswith(".png")])
    )
    write_evaluation(evaluation, folder)
    return WrittenReport(folder, evaluation, (TEXT_NAME, EVALUATION_NAME, PREDICTIONS_NAME, *pictures))
