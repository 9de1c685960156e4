"""Hooks of the training loop: history, checkpoints, watchdog, stop signal, sample images and profile.

The loop calls the methods of its hooks in the order of the hooks. A test or an experiment adds a hook of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.datasets import find_level
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.watchdog import Watchdog
from bigearth_tf.evaluation.inference import make_predict_step
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.runs.checkpoints import Progress, RunCheckpoints
from bigearth_tf.runtime.stop_signal import StopSignal
from bigearth_tf.training.history import RunLog
from bigearth_tf.training.plan import RunPlan
from bigearth_tf.training.sample_images import describe_samples, sample_images
from bigearth_tf.training.step import Requests

_NUM_SAMPLES = 8
# Not the first steps, which compile.
_PROFILED_STEPS = range(5, 10)


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a rank is before an execution.

    `epoch` is a text such as "epoch 2/30", `step` the next step of that epoch, counted from 1. `steps_done` are the
    steps of all epochs so far, `num_executions` the executions of this epoch that this process has run so far.
    """

    epoch: str
    step: int
    steps_done: int
    num_executions: int


@dataclasses.dataclass(frozen=True)
class Execution:
    """One execution: the `steps_per_execution` steps between two checks of the clock, the signals and the loss.

    `last_step` counts over all epochs, from 1. `losses` has the mean loss over all ranks for each step. `learning_rate`
    is that of the last step. `seconds` is the time on this rank, `input_seconds` the part spent waiting for input.
    """

    last_step: int
    losses: list[float]
    learning_rate: float
    seconds: float
    input_seconds: float


@dataclasses.dataclass(frozen=True)
class Validation:
    """An epoch, counted from 1, that was validated after `step` steps. `loss` is its mean training loss."""

    epoch: int
    step: int
    loss: float
    scores: dict[str, float]
    is_best: bool


class Hook:
    """What happens around training. Each method does nothing here; a hook overrides those that it needs."""

    def running(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context that is open for the whole run."""
        return contextlib.nullcontext()

    def requests(self) -> Requests:
        """Returns what this rank requests to happen after the next execution."""
        return Requests(save=False, stop=False)

    def before_execution(self, position: Position) -> None:
        """Runs before each execution."""

    def after_execution(self, execution: Execution) -> None:
        """Runs after each execution, before a save that was requested."""

    def save(self, step: int) -> None:
        """Writes what must be on disk for the run to resume after this step."""

    def after_validation(self, validation: Validation) -> None:
        """Runs after each validation, while the model has the weights that were validated."""

    def watch(self, batches: Iterable[Any], place: str) -> Iterable[Any]:
        """Returns the batches to score; `place` names them for messages, such as "scoring val"."""
        return batches


class WatchdogHook(Hook):
    """Reports to the watchdog where this rank is."""

    def __init__(self, watchdog: Watchdog) -> None:
        """Takes the watchdog, which is started with the run."""
        self._watchdog, self._has_saved = watchdog, False

    def running(self) -> contextlib.AbstractContextManager[Any]:
        """Watches for the whole run."""
        return self._watchdog.watch()

    def before_execution(self, position: Position) -> None:
        """Reports the step."""
        # The first executions compile, and fill the buffers of the input; one after a save waits for rank 0 to write.
        is_repeated_step = position.num_executions > 1 and not self._has_saved
        self._watchdog.beat(f"{position.epoch}, step {position.step}", is_repeated_step=is_repeated_step)
        self._has_saved = False

    def save(self, step: int) -> None:
        """Reports the save."""
        self._watchdog.beat(f"saving after step {step}", is_repeated_step=False)
        self._has_saved = True

    def watch(self, batches: Iterable[Any], place: str) -> Iterable[Any]:
        """Reports each batch."""
        return self._watchdog.watch_iterable(batches, place)


class StopHook(Hook):
    """Requests to stop after a signal."""

    def __init__(self) -> None:
        """Prepares for the signals of batch systems, which `running` listens for."""
        self._signal = StopSignal()

    def running(self) -> contextlib.AbstractContextManager[Any]:
        """Listens for the whole run."""
        return self._signal.listen()

    def requests(self) -> Requests:
        """Requests to stop if there was a signal."""
        return Requests(save=False, stop=bool(self._signal.received))


class HistoryHook(Hook):
    """Writes steps and epochs to the log of the run."""

    def __init__(self, log: RunLog, global_batch_size: int) -> None:
        """Takes the log and the number of images of a step."""
        self._log, self._global_batch_size = log, global_batch_size

    def after_execution(self, execution: Execution) -> None:
        """Logs each step."""
        images_per_s = len(execution.losses) * self._global_batch_size / execution.seconds
        input_share = execution.input_seconds / execution.seconds
        first_step = execution.last_step - len(execution.losses) + 1
        for step, loss in enumerate(execution.losses, first_step):
            self._log.step(step, loss, execution.learning_rate, images_per_s, input_share)

    def save(self, step: int) -> None:
        """Writes the lines of all steps so far, because a checkpoint must not be ahead of the log."""
        self._log.flush()

    def after_validation(self, validation: Validation) -> None:
        """Logs the epoch."""
        self._log.epoch(validation.epoch, validation.step, validation.loss, validation.scores, validation.is_best)


class CheckpointHook(Hook):
    """Saves checkpoints on rank 0: `latest` when it is due, `best` after an epoch with a new best score."""

    def __init__(self, checkpoints: RunCheckpoints, progress: Progress, config: TrainConfig, replica: Replica) -> None:
        """Takes the checkpoints; the first interval begins now."""
        self._checkpoints, self._progress, self._config, self._replica = checkpoints, progress, config, replica
        self._saved_at = time.monotonic()

    def requests(self) -> Requests:
        """Requests a checkpoint within the epoch if it is due; rank 0 alone looks at the clock."""
        every = self._config.checkpoint_steps
        due = bool(every) and (int(self._progress.steps_done) + self._config.steps_per_execution) % every == 0
        passed_s = time.monotonic() - self._saved_at
        due = due or (self._replica.is_chief and passed_s > 60 * self._config.checkpoint_minutes)
        return Requests(save=due, stop=False)

    def save(self, step: int) -> None:
        """Saves `latest`."""
        self._saved_at = time.monotonic()
        if self._replica.is_chief:
            self._checkpoints.save_latest()

    def after_validation(self, validation: Validation) -> None:
        """Saves `best`, before `latest`: if the process is killed in between, the epoch is validated again."""
        if validation.is_best and self._replica.is_chief:
            self._checkpoints.save_best()


class SampleImagesHook(Hook):
    """Shows the first patches of the validation split in TensorBoard, with the predictions of the model."""

    def __init__(self, log: RunLog, plan: RunPlan, model: keras.Model) -> None:
        """Takes the log of the run, its plan and its model."""
        self._log, self._plan = log, plan
        self._predict_step = make_predict_step(model, plan.dataset.label_kind)

    def after_validation(self, validation: Validation) -> None:
        """Logs the images."""
        dataset = self._plan.dataset
        count = min(_NUM_SAMPLES, dataset.num_records("val"))
        batches = make_eval_dataset(dataset, "val", self._plan.bands, batch_size=count, replica=Replica())
        batch = next(iter(batches))
        text = describe_samples(batch, self._predict_step(batch["bands"]).numpy(), dataset.class_names)
        self._log.images(validation.step, sample_images(batch["bands"], find_level(dataset.manifest.dataset)), text)


class ProfileHook(Hook):
    """Writes a TensorBoard profile of a few early steps."""

    def __init__(self, workdir: Path) -> None:
        """Takes the folder of the run."""
        self._folder, self._profiling = os.fspath(workdir / "tensorboard"), False

    def before_execution(self, position: Position) -> None:
        """Starts or stops the profile."""
        profiled = position.steps_done in _PROFILED_STEPS
        if profiled and not self._profiling:
            tf.profiler.experimental.start(self._folder)
        elif self._profiling and not profiled:
            tf.profiler.experimental.stop()
        self._profiling = profiled
