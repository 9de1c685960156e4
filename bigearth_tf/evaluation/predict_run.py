"""Predictions of a finished run's best checkpoint on a split: one table, the same for any number of ranks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.consensus import run_on_all_ranks
from bigearth_tf.distributed.preflight import check_same_config_and_data
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.watchdog import Watchdog
from bigearth_tf.evaluation.data_fit import check_fit
from bigearth_tf.evaluation.fitted_decisions import FITTED_ON
from bigearth_tf.evaluation.inference import make_predict_step, predict_split
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from bigearth_tf.runs.record import RunResult, digest_shards
from bigearth_tf.runs.work_folder import FinishedRun, load_finished_run


@dataclasses.dataclass(frozen=True)
class RunPredictions:
    """The predictions of a run on a split, and on the split `val` if thresholds and temperature are fitted on it.

    `about` describes the model and the records, and identifies an evaluation.
    """

    about: dict[str, Any]
    scored: NamedPredictions
    validation: Optional[Predictions]


def predict_run(
    workdir: str | os.PathLike,
    data_dir: str | os.PathLike,
    split: str,
    replica: Replica,
    watch_dir: Optional[Path] = None,
) -> RunPredictions:
    """Returns the tables of a run's best checkpoint on a data set, which may differ from that of its training.

    Args:
        workdir: Folder of the run.
        data_dir: Folder of the data set.
        split: Split to predict; the split val is predicted as well.
        replica: This rank.
        watch_dir: Folder that all ranks share, for the notes of the watchdog: a rank that makes no progress for the
            `stall_timeout_s` of the run's config ends. Without a folder there is no watchdog.

    Raises:
        FileNotFoundError: The run has not finished, or the data set has no manifest.
        ValueError: The data set has no such split, or other classes or bands than the model; a record is broken; or the
            ranks disagree.
    """

    def prepare() -> tuple[ShardedDataset, FinishedRun]:
        data = ShardedDataset.open(data_dir)
        data.shards(split)
        run = load_finished_run(workdir)
        check_fit(run.settings.dataset, data)
        return data, run

    data, run = run_on_all_ranks(prepare, replica)
    check_same_config_and_data({**run.settings.to_json(), "split": split}, data.manifest, True, replica)
    predict_step = make_predict_step(run.model, data.label_kind)
    timeout_s = run.settings.config.communication.stall_timeout_s
    watchdog = Watchdog(watch_dir, replica, timeout_s) if watch_dir else None

    def predict(name: str) -> Predictions:
        def watch(batches: Iterable[Any]) -> Iterable[Any]:
            return watchdog.watch_iterable(batches, f"scoring {name}") if watchdog else batches

        return predict_split(predict_step, data, name, run.bands, replica, watch)

    with watchdog.watch() if watchdog else contextlib.nullcontext():
        validation = predict(FITTED_ON) if split != FITTED_ON and FITTED_ON in data.manifest.splits else None
        scored = NamedPredictions(predict(split), run.class_names, data.label_kind)
    return RunPredictions(_describe(run, data, split), scored, validation)


def _describe(run: FinishedRun, data: ShardedDataset, split: str) -> dict[str, Any]:
    """Returns the content of `about` in `evaluation.json`."""
    trained_on = run.settings.dataset
    return {
        "model": run.settings.config.model,
        "best_epoch": run.result.best_epoch if isinstance(run.result, RunResult) else None,
        "weights_sha256": run.hash_weights(),
        "trained_on": {key: getattr(trained_on, key) for key in ("name", "source", "num_records")},
        "dataset": data.manifest.dataset,
        "source": data.manifest.source,
        "split": split,
        "shards_sha256": digest_shards(data.shards(split)),
        "thresholds": _why_not_tuned(data, split) or "Thresholds are tuned on the split val of the same data set.",
    }


def _why_not_tuned(data: ShardedDataset, split: str) -> str:
    if data.label_kind is LabelKind.SINGLE:
        return "The most probable class is predicted: there are no thresholds."
    if split == "val":
        return "Thresholds are not tuned: they would be tuned on the records that are scored."
    return "" if "val" in data.manifest.splits else "Thresholds are not tuned: the data set has no split val."
