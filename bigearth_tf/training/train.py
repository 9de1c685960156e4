"""Training of one model on 1 or N ranks, from a config to the scores of the best model; a stopped run resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from bigearth_tf.config import TrainConfig
from bigearth_tf.distributed import preflight
from bigearth_tf.distributed.consensus import run_on_all_ranks
from bigearth_tf.distributed.folder_lock import lock_folder
from bigearth_tf.distributed.replica import Replica, convert_lost_rank_errors
from bigearth_tf.distributed.watchdog import Watchdog
from bigearth_tf.runs.checkpoints import RunCheckpoints
from bigearth_tf.runs.record import (
    CONFIG_NAME,
    RESULT_NAME,
    RunResult,
    RunSettings,
    make_run_settings,
    read_result,
)
from bigearth_tf.runs.work_folder import claim
from bigearth_tf.training.history import RunLog
from bigearth_tf.training.hooks import (
    CheckpointHook,
    HistoryHook,
    Hook,
    ProfileHook,
    SampleImagesHook,
    StopHook,
    WatchdogHook,
)
from bigearth_tf.training.loop import TrainingLoop
from bigearth_tf.training.plan import RunPlan, plan_run
from bigearth_tf.training.state import TrainState, make_train_state, resume


def train(
    config: TrainConfig,
    workdir: str | os.PathLike,
    replica: Replica,
    *,
    profile: bool = False,
    hooks: Sequence[Hook] = (),
) -> RunResult:
    """Trains, evaluates the best checkpoint on the test split, writes `result.json`, and returns it.

    Args:
        config: Config of the run.
        workdir: Folder of the run, the same for all ranks.
        replica: This rank.
        profile: Whether to write a TensorBoard profile of a few steps.
        hooks: Hooks of the caller, which run after those of the run.

    Raises:
        FileNotFoundError: The data set has no manifest, or a shard is missing.
        ValueError: The config does not fit the data, the ranks, or what is in the work folder; another process trains
            in that folder; the ranks disagree; or the loss is no longer finite.
        ConnectionError: Another rank is lost.
        Stopped: A signal requested to stop; the run is saved.
    """
    workdir = Path(workdir)
    with convert_lost_rank_errors(replica):
        plan = run_on_all_ranks(lambda: plan_run(config, replica.world_size), replica)
        settings = make_run_settings(plan.config, plan.dataset.manifest, plan.bands)
        complete = (workdir / RESULT_NAME).exists()
        preflight.check_same_config_and_data(settings.identity(), plan.dataset.manifest, complete, replica)
        if complete:
            _claim(workdir, settings, replica)
            logging.info("%s is complete; name another --workdir for another run.", workdir)
        else:
            _run(plan, settings, workdir, replica, profile, hooks)
    result = read_result(workdir)
    if not isinstance(result, RunResult):
        raise ValueError(f"{workdir}: this is an imported model. Name another --workdir.")
    return result


def _run(
    plan: RunPlan, settings: RunSettings, workdir: Path, replica: Replica, profile: bool, hooks: Sequence[Hook]
) -> None:
    """Trains from the latest checkpoint, or from the start, to the result."""
    state = make_train_state(plan, replica)
    # Nothing was written before this line, because only now the config is known to work.
    with lock_folder(workdir, replica):
        identity = run_on_all_ranks(lambda: _claim(workdir, settings, replica), replica)
        checkpoints = RunCheckpoints(workdir, state.progress, json.dumps(identity, sort_keys=True), **state.trackables)
        resume(state, checkpoints, replica)
        own = _make_hooks(plan, state, checkpoints, workdir, replica)
        if profile and replica.is_chief:
            own.append(ProfileHook(workdir))
        TrainingLoop(plan, state, workdir, replica, [*own, *hooks]).run()


def _claim(workdir: Path, settings: RunSettings, replica: Replica) -> dict[str, Any]:
    """Claims the work folder on rank 0; compares the settings on every rank that finds settings there."""
    if replica.is_chief or (workdir / CONFIG_NAME).exists():
        return claim(workdir, settings)
    return settings.identity()


def _make_hooks(
    plan: RunPlan, state: TrainState, checkpoints: RunCheckpoints, workdir: Path, replica: Replica
) -> list[Hook]:
    """Returns the hooks of every run. History comes before checkpoints, which must not be ahead of it."""
    config, progress = plan.config, state.progress
    log = RunLog(workdir, replica, step=int(progress.step), epochs_done=int(progress.epochs_done))
    hooks = [
        WatchdogHook(Watchdog(workdir, replica, config.communication.stall_timeout_s)),
        StopHook(),
        HistoryHook(log, config.global_batch_size),
        CheckpointHook(checkpoints, progress, config, replica),
    ]
    if replica.is_chief:
        hooks.append(SampleImagesHook(log, plan, state.model))
    return hooks
