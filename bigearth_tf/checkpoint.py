"""Where does a run continue, and which weights were best? Two checkpoints: `latest` and `best`.

TensorFlow writes a checkpoint's files under other names and renames them, and names it in the file `checkpoint` last:
a process killed at any moment leaves the one before it whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf


class RunCheckpoints:
    """The checkpoints of one work folder: model, optimiser, and counters of the run.

    `epochs_done`, `best_epoch` (counted from 1), `best_score`, and `train_seconds`, spent in training steps.
    """

    def __init__(self, workdir: str | os.PathLike, model: Any, optimizer: Any) -> None:
        """Takes what is saved; nothing is read or written yet."""
        self.epochs_done = tf.Variable(0, dtype=tf.int64)
        self.best_epoch = tf.Variable(0, dtype=tf.int64)
        self.best_score = tf.Variable(-1.0, dtype=tf.float64)
        self.train_seconds = tf.Variable(0.0, dtype=tf.float64)
        self.counters = [self.epochs_done, self.best_epoch, self.best_score, self.train_seconds]
        self._everything = tf.train.Checkpoint(model=model, optimizer=optimizer, counters=self.counters)
        weights = tf.train.Checkpoint(model=model)
        self._latest = tf.train.CheckpointManager(self._everything, _folder(workdir, "latest"), max_to_keep=2)
        self._best = tf.train.CheckpointManager(weights, _folder(workdir, "best"), max_to_keep=1)

    def resume(self) -> bool:
        """Restores the latest checkpoint, whole; returns False where there is none yet."""
        if not self._latest.latest_checkpoint:
            return False
        self._everything.restore(self._latest.latest_checkpoint).assert_consumed()
        return True

    def save_epoch(self, epoch: int, score: float, seconds: float) -> bool:
        """Saves the state after an epoch of training that took `seconds`; returns whether its score is the best so far.

        The best weights are written first: where the process is killed in between, the epoch is done again.
        """
        is_best = score > float(self.best_score)
        if is_best:
            self.best_epoch.assign(epoch)
            self.best_score.assign(score)
            self._best.save(checkpoint_number=epoch)
        self.epochs_done.assign(epoch)
        self.train_seconds.assign_add(seconds)
        self._latest.save(checkpoint_number=epoch)
        return is_best


def save_best(workdir: str | os.PathLike, model: Any) -> None:
    """Writes a model's weights as the best ones of a run, for weights that were not trained in it."""
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), _folder(workdir, "best"), max_to_keep=1)
    manager.save(checkpoint_number=0)


def restore_best(workdir: str | os.PathLike, model: Any) -> None:
    """Sets a model's weights to the best ones of a run.

    Raises:
        FileNotFoundError: No epoch has been saved.
    """
    folder = _folder(workdir, "best")
    path = tf.train.latest_checkpoint(folder)
    if not path:
        raise FileNotFoundError(f"{folder}: there is no best checkpoint. Train first.")
    # What is left in the file beside the model's weights is TensorFlow's own count of saves.
    tf.train.Checkpoint(model=model).restore(path).assert_existing_objects_matched().expect_partial()


def _folder(workdir: str | os.PathLike, name: str) -> str:
    return os.fspath(Path(workdir) / "checkpoints" / name)
