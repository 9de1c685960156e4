"""The result of a run: the scores of its best model and of a constant prediction, and the time it took."""

from __future__ import annotations

import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import multi_hot
from bigearth_tf.evaluation.metric_table import AVERAGES
from bigearth_tf.evaluation.metrics import (
    compute_class_scores,
    compute_scores,
    find_classes_without_records,
    most_frequent_labels,
)
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.runs.record import ConstantPrediction, RunResult
from bigearth_tf.training.plan import RunPlan
from bigearth_tf.training.state import TrainState


def score_predictions(table: Predictions, label_kind: LabelKind) -> dict[str, float]:
    """Returns the scores of a table by which epochs are compared."""
    return compute_scores(table.labels, table.probabilities, label_kind=label_kind)


def make_result(plan: RunPlan, state: TrainState, validation: Predictions, test: Predictions) -> RunResult:
    """Returns the result of a run: the scores of the best model and of the constant predictor, and the times.

    Args:
        plan: Plan of the run.
        state: State with the weights of the best model.
        validation: That model's predictions for the split `val`.
        test: Its predictions for the split `test`.
    """
    manifest, progress = plan.dataset.manifest, state.progress
    kind, counts = manifest.label_kind, manifest.class_counts("train")
    if kind is LabelKind.MULTI:
        constant = most_frequent_labels(counts, manifest.num_records("train"))
    else:
        constant = (int(np.argmax(counts)),)
    always = np.tile(multi_hot(constant, len(manifest.class_names)), (len(test.labels), 1))
    return RunResult(
        model=plan.config.model,
        num_parameters=state.model.count_params(),
        best_epoch=int(progress.best_epoch),
        epochs=int(progress.epochs_done),
        train_seconds=round(float(progress.train_seconds), 1),
        input_share=round(float(progress.input_seconds) / max(float(progress.train_seconds), 1e-9), 4),
        val=score_predictions(validation, kind),
        test=score_predictions(test, kind),
        test_classes=compute_class_scores(test.labels, test.probabilities, manifest.class_names, label_kind=kind),
        always_most_frequent_labels=ConstantPrediction(
            labels=tuple(manifest.class_names[index] for index in constant),
            test=compute_scores(test.labels, always, label_kind=kind),
        ),
        classes_without_records={
            split: find_classes_without_records(table.labels, manifest.class_names)
            for split, table in (("val", validation), ("test", test))
        },
        averages={name: AVERAGES[name] for name in kind.averages},
    )
