"""Can a config be trained on its data by so many ranks, in that folder? Asked before anything is queued."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigearth_tf.data.manifest import MANIFEST_NAME, read_manifest

if TYPE_CHECKING:
    from bigearth_tf.config import TrainConfig


def check_training(config: TrainConfig, workdir: Path, ranks: Sequence[int], *, converted_before: bool) -> list[str]:
    """Returns what people should know of the training, a line each.

    Args:
        config: With the folder of its data.
        workdir: Of the run.
        ranks: Over all nodes, and over fewer, where an elastic run may come to that.
        converted_before: Whether the chain begins with the conversion; then the data may be missing.

    Raises:
        FileNotFoundError: The data are missing, or a shard of them.
        ValueError: The config is wrong, or does not fit the data, the ranks, or what the work folder holds.
    """
    from bigearth_tf.config import parse_overrides, validate
    from bigearth_tf.distributed.adasum import check_ranks
    from bigearth_tf.models.registry import model_config

    validate(config)
    model_config(config.model, **parse_overrides(config.model_overrides))
    if config.communication.reduction == "adasum":
        for number in ranks:
            check_ranks(number)
    lines = [_batch_line(config, number) for number in ranks]
    if converted_before and not (Path(config.data.data_dir) / MANIFEST_NAME).exists():
        return [*lines, f"records: not converted yet; whether they fit shows when {config.data.data_dir} is"]
    return [*lines, *_check_data(config, workdir, ranks[0])]


def _batch_line(config: TrainConfig, ranks: int) -> str:
    batch, parts = config.global_batch_size, config.optimizer.accumulate
    if batch % (ranks * parts):
        lower = batch // (ranks * parts) * ranks * parts
        allowed = " or ".join(f"--config.global_batch_size={size}" for size in (lower, lower + ranks * parts) if size)
        each = f"{ranks} ranks" + (f" in {parts} parts (optimizer.accumulate)" if parts > 1 else "")
        raise ValueError(f"global_batch_size={batch} cannot be divided among {each}; the nearest that can: {allowed}.")
    accumulated = f" in {parts} parts" if parts > 1 else ""
    return f"global batch {batch} on {ranks} ranks: {batch // ranks} records a rank{accumulated}"


def _check_data(config: TrainConfig, workdir: Path, ranks: int) -> list[str]:
    from bigearth_tf.distributed.replica import Replica
    from bigearth_tf.evaluation.metrics import selection_scores
    from bigearth_tf.input.pipeline import steps_per_epoch
    from bigearth_tf.runs.record import CONFIG_NAME, RESULT_NAME, make_run_settings
    from bigearth_tf.runs.work_folder import claim
    from bigearth_tf.training.schedules import make_schedule
    from bigearth_tf.training.train import SPLITS

    manifest = read_manifest(config.data.data_dir)
    records = {split: manifest.num_records(split) for split in SPLITS}
    for split, number in records.items():
        if ranks > number:
            raise ValueError(f"{ranks} ranks, but the split {split} has {number} records; ask for fewer ranks.")
    if config.best_metric not in selection_scores(manifest.label_kind):
        allowed = ", ".join(selection_scores(manifest.label_kind))
        raise ValueError(f"best_metric={config.best_metric!r}: unknown; allowed: {allowed}.")
    bands = manifest.select_bands(config.data.bands)
    steps = steps_per_epoch(manifest, config.global_batch_size, Replica(world_size=ranks))
    make_schedule(config.schedule, steps * config.epochs, config.global_batch_size)
    if (workdir / CONFIG_NAME).exists():
        claim(workdir, make_run_settings(config, manifest, bands))  # Writes nothing: only compares.
    lines = [
        "records: " + ", ".join(f"{split} {number:,}" for split, number in records.items()),
        f"{steps:,} steps an epoch, {config.epochs} epochs",
    ]
    if (workdir / RESULT_NAME).exists():
        lines.append(f"{workdir} is complete: training will find nothing to do")
    return lines


def check_trained(workdir: Path) -> None:
    """Checks that a run has ended.

    Raises:
        FileNotFoundError: It has not.
    """
    from bigearth_tf.runs.record import RESULT_NAME

    if not (workdir / RESULT_NAME).exists():
        raise FileNotFoundError(f"{workdir / RESULT_NAME}: missing: that run has not ended. Add train to --steps.")
