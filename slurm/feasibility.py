"""Checks, before anything is queued, that a config can be trained on its data, these ranks and its work folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runs.record import CONFIG_NAME, RESULT_NAME, make_run_settings

if TYPE_CHECKING:
    from bigearth_tf.config import TrainConfig
    from bigearth_tf.training.plan import RunPlan


def check_training(config: TrainConfig, workdir: Path, ranks: Sequence[int], *, converted_before: bool) -> list[str]:
    """Returns what users should know about the training, a line each.

    Config and data are checked exactly as by `experiments.train`, because both call `plan_run`.

    Args:
        config: Config, with the folder of its data.
        workdir: Work folder of the run.
        ranks: The number of ranks on all nodes, then on fewer nodes, if an elastic run may lose nodes.
        converted_before: Whether the chain begins with the conversion; then the data may be missing.

    Raises:
        FileNotFoundError: The data are missing, or a shard of them.
        ValueError: The config is wrong, or does not fit the data, the ranks, or what is in the work folder.
        RuntimeError: The package of the optimizer is not installed.
    """
    from bigearth_tf.training.plan import check_without_data, plan_run

    lines = [_describe_batch(config, number) for number in ranks]
    if converted_before and not (Path(config.data.data_dir) / MANIFEST_NAME).exists():
        for number in ranks:
            check_without_data(config, number)
        return [*lines, f"records: not converted yet; whether they fit shows when {config.data.data_dir} is"]
    plans = [plan_run(config, number) for number in ranks]
    return [*lines, *_describe_data(plans[0]), *_check_work_folder(plans[0], workdir)]


def check_trained(workdir: Path) -> None:
    """Checks that a run is finished.

    Raises:
        FileNotFoundError: The run is not finished.
    """
    if not (workdir / RESULT_NAME).exists():
        raise FileNotFoundError(f"{workdir / RESULT_NAME}: missing: that run has not finished. Add train to --steps.")


def _describe_batch(config: TrainConfig, ranks: int) -> str:
    batch, parts = config.global_batch_size, config.optimizer.accumulate
    accumulated = f" in {parts} parts" if parts > 1 else ""
    return f"global batch {batch} on {ranks} ranks: {batch // ranks} records a rank{accumulated}"


def _describe_data(plan: RunPlan) -> list[str]:
    from bigearth_tf.training.resolve_config import SPLITS

    counts = ", ".join(f"{split} {plan.dataset.num_records(split):,}" for split in SPLITS)
    return [f"records: {counts}", f"{plan.steps_per_epoch:,} steps an epoch, {plan.config.epochs} epochs"]


def _check_work_folder(plan: RunPlan, workdir: Path) -> list[str]:
    from bigearth_tf.runs.work_folder import claim

    if (workdir / CONFIG_NAME).exists():
        # The folder has settings, so this only compares them: nothing is written.
        claim(workdir, make_run_settings(plan.config, plan.dataset.manifest, plan.bands))
    return [f"{workdir} is complete: training will find nothing to do"] if (workdir / RESULT_NAME).exists() else []
