"""What does a model say of each record of a split? One table of all ranks, equal whatever their number."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest, read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.consensus import run_on_all_ranks
from bigearth_tf.distributed.preflight import check_same_config_and_data
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.watchdog import Watchdog
from bigearth_tf.evaluation.inference import make_predict_step, predict_dataset
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.evaluation.report import EVALUATION_NAME
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.runs.record import RunResult
from bigearth_tf.runs.work_folder import FinishedRun, load_finished_run

_BATCH_SIZE = 256
# What must agree for pixels to mean the same; mean and standard deviation are the model's own.
_BAND_FIELDS = ("sensor", "resolution_m", "size_px", "dtype", "unit")


@dataclasses.dataclass(frozen=True)
class RunPredictions:
    """What the best model of a run says of a split, and of the split `val` where thresholds are tuned on it.

    `about` says which model and which records, for people and to tell evaluations apart.
    """

    about: dict[str, Any]
    class_names: tuple[str, ...]
    label_kind: LabelKind
    table: Predictions
    validation: Optional[Predictions]


def predict_run(
    workdir: str | os.PathLike,
    data_dir: str | os.PathLike,
    split: str,
    replica: Replica,
    watch_dir: Optional[Path] = None,
) -> RunPredictions:
    """Returns the tables of a run's best checkpoint on a data set, which need not be the one it was trained on.

    Batches have one size whatever the number of ranks, so that the same kernels compute every record.

    Args:
        workdir: Of the run.
        data_dir: Of the data set.
        split: To predict; of multi-label data val is, too.
        replica: This rank.
        watch_dir: Folder that all ranks share, where they leave notes of where they are: a rank that stands still for
            as long as the run's config says ends. Without one nobody watches.

    Raises:
        FileNotFoundError: The run has not ended, or the data set has no manifest.
        ValueError: The data set has no such split, or other classes or bands than the model; or the ranks disagree.
    """

    def prepare() -> tuple[ShardedDataset, FinishedRun]:
        data = ShardedDataset.open(data_dir)
        data.shards(split)
        run = load_finished_run(workdir)
        check_fit(run.class_names, run.bands, run.settings.dataset.label_kind, data.manifest, os.fspath(data_dir))
        return data, run

    data, run = run_on_all_ranks(prepare, replica)
    manifest = data.manifest
    check_same_config_and_data({**run.settings.to_json(), "split": split}, manifest, True, replica)
    dataset = run.settings.dataset
    predict_step = make_predict_step(run.model, manifest.label_kind)
    timeout_s = run.settings.config.communication.stall_timeout_s
    watchdog = Watchdog(watch_dir, replica, timeout_s) if watch_dir else None

    def predict(name: str) -> Predictions:
        num_records = manifest.num_records(name)
        batch_size = min(_BATCH_SIZE, num_records)
        batches = make_eval_dataset(data, name, run.bands, batch_size=batch_size, replica=replica)
        watched = watchdog.watch_iterable(batches, f"scoring {name}") if watchdog else batches
        return predict_dataset(predict_step, watched, replica, num_records)

    thresholds = _why_not_tuned(manifest, split) or "Thresholds are tuned on the split val of the same data set."
    about = {
        "model": run.settings.config.model,
        "best_epoch": run.result.best_epoch if isinstance(run.result, RunResult) else None,
        "trained_on": {key: getattr(dataset, key) for key in ("name", "source", "num_records")},
        "dataset": manifest.dataset,
        "source": manifest.source,
        "split": split,
        "shards_sha256": shards_digest(manifest, split),
        "thresholds": thresholds,
    }
    with watchdog.watch() if watchdog else contextlib.nullcontext():
        validation = None if _why_not_tuned(manifest, split) else predict("val")
        table = predict(split)
    return RunPredictions(about, run.class_names, manifest.label_kind, table, validation)


def _why_not_tuned(manifest: Manifest, split: str) -> str:
    if manifest.label_kind is LabelKind.SINGLE:
        return "The likeliest class is predicted: there are no thresholds."
    if split == "val":
        return "Thresholds are not tuned: the records to tune on would be those that are scored."
    return "" if "val" in manifest.splits else "Thresholds are not tuned: the data set has no split val."


def shards_digest(manifest: Manifest, split: str) -> str:
    """Returns a digest of the content of a split."""
    rows = [[shard.name, shard.sha256] for shard in manifest.split_shards(split)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def output_folder(
    workdir: str | os.PathLike, data_dir: str | os.PathLike, split: str, output: Optional[str] = None
) -> Path:
    """Returns the folder that an evaluation goes to: `output`, or `<workdir>/evaluation/<split>`.

    Raises:
        FileNotFoundError: The data set has no manifest.
        ValueError: The folder holds the evaluation of other records.
    """
    folder = Path(output) if output else Path(workdir) / "evaluation" / split
    path = folder / EVALUATION_NAME
    if path.exists():
        held = json.loads(path.read_text(encoding="utf-8")).get("about", {})
        if held.get("shards_sha256") != shards_digest(read_manifest(data_dir), split):
            raise ValueError(
                f"{path}: is the evaluation of other records, of {held.get('dataset')}, {held.get('split')}. "
                "Name another --output."
            )
    return folder


def check_fit(
    class_names: Sequence[str], bands: Sequence[Band], label_kind: LabelKind, manifest: Manifest, data_dir: str
) -> None:
    """Checks that the records of a data set are what a model of these classes and bands takes.

    Raises:
        ValueError: They are not; the message names the difference.
    """
    if manifest.label_kind != label_kind:
        raise ValueError(f"{data_dir}: has {manifest.label_kind}-label data, the model was trained on {label_kind}.")
    if tuple(manifest.class_names) != tuple(class_names):
        raise ValueError(f"{data_dir}: its classes are not the model's. " + _difference(manifest, class_names))
    rows = {band.name: band for band in manifest.bands}
    for band in bands:
        (stored,) = get_bands([band.name], rows)
        for field in _BAND_FIELDS:
            here, there = getattr(stored, field), getattr(band, field)
            if here != there:
                raise ValueError(f"{data_dir}: band {band.name} has {field} {here!r}, the model takes {there!r}.")


def _difference(manifest: Manifest, class_names: Sequence[str]) -> str:
    missing = [name for name in class_names if name not in manifest.class_names]
    unknown = [name for name in manifest.class_names if name not in class_names]
    if missing or unknown:
        return f"Only the model has {missing or 'none'}, only the data have {unknown or 'none'}."
    pairs = enumerate(zip(class_names, manifest.class_names))
    index, there, here = next((index, there, here) for index, (there, here) in pairs if there != here)
    return f"Their order differs: class {index} is {there!r} to the model, {here!r} in the data."
