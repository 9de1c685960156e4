"""The training loop: epochs of steps, each validated; at the end, the scores of the best weights."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.inference import make_predict_step, predict_split
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.input.pipeline import make_train_dataset
from bigearth_tf.input.shard_index import name_broken_records
from bigearth_tf.input.shuffle_order import EpochPosition
from bigearth_tf.runs.checkpoints import restore_best
from bigearth_tf.runs.record import write_result
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.stop_signal import Stopped
from bigearth_tf.training.hooks import Execution, Hook, Position, Validation
from bigearth_tf.training.optimizers import read_learning_rate
from bigearth_tf.training.plan import RunPlan
from bigearth_tf.training.result import make_result, score_predictions
from bigearth_tf.training.state import TrainState
from bigearth_tf.training.step import Requests, StepOutput, make_train_step


class TrainingLoop:
    """The loop of a run on this rank. It changes the state; during the epochs, its hooks do everything else."""

    def __init__(
        self, plan: RunPlan, state: TrainState, workdir: Path, replica: Replica, hooks: Sequence[Hook]
    ) -> None:
        """Takes the state to start from, which must be the same on all ranks."""
        self._plan, self._state, self._workdir, self._replica, self._hooks = plan, state, workdir, replica, hooks
        self._train_step = make_train_step(state, plan.config, replica)
        self._predict_step = make_predict_step(state.model, plan.dataset.label_kind)

    def run(self) -> None:
        """Trains until the last epoch or an early stop, then writes the result.

        Raises:
            ValueError: The loss is not finite, or a record is broken.
            Stopped: A hook of some rank requested to stop; the run is saved.
        """
        with contextlib.ExitStack() as stack:
            for hook in self._hooks:
                stack.enter_context(hook.running())
            self._train_epochs()
            self._write_result()

    def _train_epochs(self) -> None:
        progress, config = self._state.progress, self._plan.config
        patience = config.early_stopping_epochs
        for epoch in range(int(progress.epochs_done), config.epochs):
            if patience and epoch - int(progress.best_epoch) >= patience and int(progress.best_epoch):
                if self._replica.is_chief:
                    logging.info("no better score for %d epochs; ending early.", patience)
                return
            if int(progress.steps_done) < self._plan.steps_per_epoch:
                self._train_epoch(epoch)
                # Before validation, which may take long: a run that is killed there resumes with the validation.
                self._save()
            self._validate(epoch)

    def _train_epoch(self, epoch: int) -> None:
        """Trains on the rest of an epoch."""
        plan, config, progress = self._plan, self._plan.config, self._state.progress
        first, steps, images = int(progress.steps_done), plan.steps_per_epoch, config.global_batch_size
        dataset = make_train_dataset(
            plan.dataset,
            plan.bands,
            self._replica,
            EpochPosition(config.seed, epoch, first),
            global_batch_size=images,
            shuffle_mb=config.data.shuffle_mb,
        )
        batches, title = iter(dataset), f"epoch {epoch + 1}/{config.epochs}"
        options = {"initial": first * images, "disable": not self._replica.is_chief, "leave": False}
        with (
            progress_bar(steps * images, title, "img", **options) as bar,
            name_broken_records(plan.dataset, "train"),
        ):
            for number, start in enumerate(range(first, steps, config.steps_per_execution)):
                position = Position(title, start + 1, int(progress.step), number)
                requests = self._execute(batches, position, min(config.steps_per_execution, steps - start))
                bar.update((int(progress.steps_done) - start) * images)
                bar.set_postfix(loss=f"{float(progress.loss_sum) / int(progress.steps_done):.4f}", refresh=False)
                if requests.save or requests.stop:
                    self._save()
                if requests.stop:
                    raise Stopped(f"{title}: asked to stop; saved after step {int(progress.step)}.")

    def _execute(self, batches: Iterator[Any], position: Position, num_steps: int) -> Requests:
        """Runs steps, then the hooks; returns the requests that the ranks made before the steps."""
        for hook in self._hooks:
            hook.before_execution(position)
        requests = self._collect_requests()
        started, input_seconds = time.monotonic(), 0.0
        outputs: list[StepOutput] = []
        patch_ids: list[tf.Tensor] = []
        for index in range(num_steps):
            before = time.monotonic()
            batch = next(batches)
            input_seconds += time.monotonic() - before
            patch_ids.append(batch["patch_id"])
            outputs.append(self._train_step(batch, self._state.progress.step + index, requests))
        # Reading an output waits for the device.
        losses = [float(output.loss) for output in outputs]
        seconds = time.monotonic() - started
        self._count_steps(position, losses, outputs, patch_ids)
        self._state.progress.train_seconds.assign_add(seconds)
        self._state.progress.input_seconds.assign_add(input_seconds)
        last_step, learning_rate = int(self._state.progress.step), read_learning_rate(self._state.optimizer)
        for hook in self._hooks:
            hook.after_execution(Execution(last_step, losses, learning_rate, seconds, input_seconds))
        return Requests(*(float(share) > 0 for share in outputs[-1].requests))

    def _collect_requests(self) -> Requests:
        """Returns the requests of the hooks on this rank, as tensors."""
        made = [Requests(save=False, stop=False), *(hook.requests() for hook in self._hooks)]
        return Requests(*(tf.constant(float(any(column))) for column in zip(*made)))

    def _count_steps(
        self, position: Position, losses: list[float], outputs: list[StepOutput], patch_ids: list[tf.Tensor]
    ) -> None:
        """Adds steps that were taken to the progress, up to the first one whose loss is not finite."""
        progress = self._state.progress
        for loss, output, ids in zip(losses, outputs, patch_ids):
            if not math.isfinite(loss):
                self._fail(position.epoch, float(output.rank_loss), ids)
            progress.loss_sum.assign_add(loss)
            progress.steps_done.assign_add(1)
            progress.step.assign_add(1)

    def _fail(self, title: str, rank_loss: float, patch_ids: tf.Tensor) -> None:
        """Raises the same error on all ranks, with the patches of the ranks whose own loss is not finite."""
        ids = [] if math.isfinite(rank_loss) else [patch_id.decode() for patch_id in patch_ids.numpy()]
        found = [
            f"rank {rank}: {', '.join(part)}"
            for rank, part in enumerate(collectives.gather(ids, self._replica))
            if part
        ]
        raise ValueError(
            f"{title}, step {int(self._state.progress.steps_done) + 1}: the loss is not finite. Lower schedule.peak, "
            "add schedule.warmup_steps or set optimizer.clip_norm, or look at the patches of this batch: "
            + "; ".join(found)
        )

    def _save(self) -> None:
        for hook in self._hooks:
            hook.save(int(self._state.progress.step))

    def _validate(self, epoch: int) -> None:
        """Scores the validation split, and saves."""
        plan, progress, average = self._plan, self._state.progress, self._state.average
        loss = float(progress.loss_sum) / plan.steps_per_epoch
        # Batch statistics differ by rank; all ranks evaluate with those of rank 0, which saves them.
        collectives.broadcast(self._state.model.non_trainable_variables, self._replica)
        with average.swapped() if average else contextlib.nullcontext():
            scores = score_predictions(self._predict("val"), plan.dataset.label_kind)
            best_by = scores[plan.config.best_metric]
            is_best = best_by > float(progress.best_score)
            if is_best:
                progress.best_epoch.assign(epoch + 1)
                progress.best_score.assign(best_by)
            for hook in self._hooks:
                hook.after_validation(Validation(epoch + 1, int(progress.step), loss, scores, is_best))
        progress.epochs_done.assign(epoch + 1)
        progress.steps_done.assign(0)
        progress.loss_sum.assign(0.0)
        self._save()

    def _write_result(self) -> None:
        """Scores the best weights on the validation and test splits, and writes the result."""
        model = self._state.model
        if self._replica.is_chief:
            restore_best(self._workdir, model)
        collectives.broadcast(model.variables, self._replica)
        validation, test = self._predict("val"), self._predict("test")
        if self._replica.is_chief:
            write_result(self._workdir, make_result(self._plan, self._state, validation, test))
        collectives.gather(None, self._replica)  # No rank ends before the result is written.

    def _predict(self, split: str) -> Predictions:
        def watch(batches: Iterable[Any]) -> Iterable[Any]:
            for hook in self._hooks:
                batches = hook.watch(batches, f"scoring {split}")
            return batches

        return predict_split(self._predict_step, self._plan.dataset, split, self._plan.bands, self._replica, watch)
