"""What happens in a run? Epochs of steps, validated, saved and noted; at the end, the scores of the best weights."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.bands import Band
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.consensus import check_ranks_agree, digest_variables
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.watchdog import Watchdog
from bigearth_tf.evaluation.inference import make_predict_step, predict_dataset
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.input.pipeline import make_eval_dataset, make_train_dataset
from bigearth_tf.input.shard_index import name_broken_records
from bigearth_tf.input.shuffle_order import EpochPosition
from bigearth_tf.runs.checkpoints import Progress, RunCheckpoints, restore_best
from bigearth_tf.runs.record import write_result
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.stop_signal import Stopped, StopSignal
from bigearth_tf.training.history import RunLog
from bigearth_tf.training.optimizers import learning_rate_of
from bigearth_tf.training.result import make_result, score
from bigearth_tf.training.sample_images import describe_samples, sample_images
from bigearth_tf.training.state import TrainState
from bigearth_tf.training.step import make_train_step

_EVAL_BATCH_SIZE = 256
_NUM_SAMPLES = 8
# Not the first steps, which compile.
_PROFILED_STEPS = range(5, 10)


class TrainingRun:
    """A run under way on this rank."""

    def __init__(
        self,
        config: TrainConfig,
        workdir: Path,
        replica: Replica,
        data: ShardedDataset,
        bands: tuple[Band, ...],
        steps: int,
        training: TrainState,
        settings: str,
        profile: bool,
    ) -> None:
        """Goes on where the work folder's latest checkpoint stands, the same on all ranks."""
        self.config, self.workdir, self.replica = config, workdir, replica
        self.data, self.bands, self.steps, self.training = data, bands, steps, training
        self.progress = Progress()
        state = {"model": training.model, "optimizer": training.optimizer}
        if training.average:
            state["average"] = training.average
        self.checkpoints = RunCheckpoints(workdir, self.progress, settings, **state)
        if replica.is_chief and self.checkpoints.resume():
            logging.info("%s: going on after step %d.", workdir, int(self.progress.step))
        everything = [*training.variables, *self.progress.variables]
        collectives.broadcast(everything, replica)
        check_ranks_agree({"the weights to start from": digest_variables(everything)}, replica)
        self.log = RunLog(workdir, replica, int(self.progress.step))
        self.watchdog = Watchdog(workdir, replica, config.communication.stall_timeout_s)
        self.stop_signal = StopSignal()
        self.train_step = make_train_step(training, config, replica)
        self.predict_step = make_predict_step(training.model, data.label_kind)
        self.saved_at = time.monotonic()
        self.profiled = _PROFILED_STEPS if profile and replica.is_chief else range(0)
        self.profiling = False

    def epochs(self) -> None:
        """Trains and validates until the epochs are done or the best score is old."""
        progress, patience = self.progress, self.config.early_stopping_epochs
        for epoch in range(int(progress.epochs_done), self.config.epochs):
            if patience and epoch - int(progress.best_epoch) >= patience and int(progress.best_epoch):
                if self.replica.is_chief:
                    logging.info("no better score for %d epochs; ending early.", patience)
                return
            if int(progress.steps_done) < self.steps:
                self._train_epoch(epoch)
                # Before validation, which may take long: should the run be killed in it, it goes on here.
                self._save()
            self._validate(epoch)

    def _train_epoch(self, epoch: int) -> None:
        progress, config = self.progress, self.config
        first = int(progress.steps_done)
        dataset = make_train_dataset(
            self.data,
            self.bands,
            self.replica,
            EpochPosition(config.seed, epoch, first),
            global_batch_size=config.global_batch_size,
            shuffle_mb=config.data.shuffle_mb,
        )
        title = f"epoch {epoch + 1}/{config.epochs}"
        images = config.global_batch_size
        with (
            progress_bar(
                self.steps * images,
                title,
                "img",
                initial=first * images,
                disable=not self.replica.is_chief,
                leave=False,
            ) as bar,
            name_broken_records(self.data, "train"),
        ):
            for losses in self._executions(iter(dataset), title, self.steps - first):
                bar.update(len(losses) * images)
                bar.set_postfix(loss=f"{float(progress.loss_sum) / int(progress.steps_done):.4f}", refresh=False)

    def _executions(self, batches: Iterator[Any], title: str, steps: int) -> Iterator[list[float]]:
        """Trains on so many batches; yields the losses of each execution, which are noted and, if it is time, saved."""
        plain = False
        for first in range(0, steps, self.config.steps_per_execution):
            count = min(self.config.steps_per_execution, steps - first)
            self._profile()
            self.watchdog.beat(f"{title}, step {int(self.progress.steps_done) + 1}", plain=plain)
            wishes = tf.constant([float(self._wants_to_save()), float(bool(self.stop_signal.received))])
            started, waited, answers, patch_ids = time.monotonic(), 0.0, [], []
            for index in range(count):
                before = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - before
                patch_ids.append(batch["patch_id"])
                answers.append(self.train_step(batch, self.progress.step + index, wishes))
            # Reading the answers waits for the device; what comes before does not.
            rows = np.stack(answers).astype(np.float64)
            self._note(rows, patch_ids, title, time.monotonic() - started, waited)
            yield rows[:, 1].tolist()
            save, stop = rows[-1, 2:] > 0
            if save or stop:
                self._save()
            if stop:
                raise Stopped(f"{title}: asked to stop; saved after step {int(self.progress.step)}.")
            # The first steps compile, and fill the buffers of the input; one after a save waits for rank 0 to write.
            plain = first > 0 and not save

    def _note(self, rows: np.ndarray, patch_ids: list[tf.Tensor], title: str, seconds: float, waited: float) -> None:
        """Moves the counters on over steps that are done; `rows` are the answers of the training step."""
        progress, rate = self.progress, len(rows) * self.config.global_batch_size / seconds
        learning_rate = learning_rate_of(self.training.optimizer)
        for (own_loss, loss, *_), ids in zip(rows.tolist(), patch_ids):
            if not math.isfinite(loss):
                self._fail(title, own_loss, ids)
            progress.loss_sum.assign_add(loss)
            progress.steps_done.assign_add(1)
            progress.step.assign_add(1)
            self.log.step(int(progress.step), loss, learning_rate, rate, waited / seconds)
        progress.train_seconds.assign_add(seconds)
        progress.input_seconds.assign_add(waited)

    def _fail(self, title: str, own_loss: float, patch_ids: tf.Tensor) -> None:
        """Ends a run whose loss is not finite, on all ranks alike, naming the batch it came from."""
        ids = [] if math.isfinite(own_loss) else [patch_id.decode() for patch_id in patch_ids.numpy()]
        found = [
            f"rank {rank}: {', '.join(part)}" for rank, part in enumerate(collectives.gather(ids, self.replica)) if part
        ]
        raise ValueError(
            f"{title}, step {int(self.progress.steps_done) + 1}: the loss is not finite. Lower schedule.peak, add "
            "schedule.warmup_steps or set optimizer.clip_norm, or look at the patches of this batch: "
            + "; ".join(found)
        )

    def _wants_to_save(self) -> bool:
        """Whether a checkpoint is due before the epoch ends; rank 0 alone looks at the clock."""
        every = self.config.checkpoint_steps
        if every and (int(self.progress.steps_done) + self.config.steps_per_execution) % every == 0:
            return True
        return self.replica.is_chief and time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes

    def _save(self) -> None:
        self.watchdog.beat(f"saving after step {int(self.progress.step)}", plain=False)
        self.saved_at = time.monotonic()
        self.log.flush()
        if self.replica.is_chief:
            self.checkpoints.save_latest()

    def _validate(self, epoch: int) -> None:
        """Scores the validation split and keeps the weights if they are the best so far."""
        progress, average = self.progress, self.training.average
        loss = float(progress.loss_sum) / self.steps
        # Batch statistics differ by rank; all evaluate those that are saved.
        collectives.broadcast(self.training.model.non_trainable_variables, self.replica)
        with average.swapped() if average else contextlib.nullcontext():
            scores = score(self._predict("val"), self.data.label_kind)
            is_best = scores[self.config.best_metric] > float(progress.best_score)
            if is_best:
                progress.best_epoch.assign(epoch + 1)
                progress.best_score.assign(scores[self.config.best_metric])
                # Before `latest`: where the process is killed in between, the epoch is validated again.
                if self.replica.is_chief:
                    self.checkpoints.save_best()
            if self.replica.is_chief:
                self._show_samples()
        self.log.epoch(epoch + 1, int(progress.step), loss, scores, is_best)
        progress.epochs_done.assign(epoch + 1)
        progress.steps_done.assign(0)
        progress.loss_sum.assign(0.0)
        self._save()

    def _show_samples(self) -> None:
        """Shows the first patches of the validation split, and what the model says of them."""
        count = min(_NUM_SAMPLES, self.data.num_records("val"))
        dataset = make_eval_dataset(self.data, "val", self.bands, batch_size=count, replica=Replica())
        batch = next(iter(dataset))
        text = describe_samples(batch, self.predict_step(batch["bands"]).numpy(), self.data.class_names)
        self.log.images(int(self.progress.step), sample_images(batch["bands"]), text)

    def finish(self) -> None:
        """Scores the restored best weights on validation and test, and writes the result."""
        if self.replica.is_chief:
            restore_best(self.workdir, self.training.model)
        collectives.broadcast(self.training.model.variables, self.replica)
        validation, test = self._predict("val"), self._predict("test")
        if self.replica.is_chief:
            num_parameters = self.training.model.count_params()
            result = make_result(self.config, self.data.manifest, num_parameters, self.progress, validation, test)
            write_result(self.workdir, result)
        collectives.gather(None, self.replica)  # No rank ends before the result is written.

    def _predict(self, split: str) -> Predictions:
        # Of one size whatever the number of ranks, so that the same kernels compute every record.
        num_records = self.data.num_records(split)
        batch_size = min(_EVAL_BATCH_SIZE, num_records)
        dataset = make_eval_dataset(self.data, split, self.bands, batch_size=batch_size, replica=self.replica)
        batches = self.watchdog.watch_iterable(dataset, f"scoring {split}")
        with name_broken_records(self.data, split):
            return predict_dataset(self.predict_step, batches, self.replica, num_records)

    def _profile(self) -> None:
        """Begins or ends the TensorBoard profile where its steps do."""
        step = int(self.progress.step)
        if step in self.profiled and not self.profiling:
            tf.profiler.experimental.start(os.fspath(self.workdir / "tensorboard"))
            self.profiling = True
        elif self.profiling and step not in self.profiled:
            tf.profiler.experimental.stop()
            self.profiling = False
