"""Where does a run go on, and which weights were best? Two checkpoints: `latest` and `best`.

TensorFlow writes a checkpoint's files under other names and renames them, and names it in the file `checkpoint` last:
a process killed at any moment leaves the one before it whole. Should the newest still be damaged, by a power loss
say, the one before it is taken: training goes on from there to the same end.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging


class Progress(tf.Module):
    """How far a run has come, as variables that travel in its checkpoints.

    `epochs_done` and, in the epoch that is under way, `steps_done` and their `loss_sum`; `step`, counted over all
    epochs; `best_epoch` (counted from 1), `best_score`; `train_seconds`, spent in training steps, and of them
    `input_seconds` waiting for input.
    """

    def __init__(self) -> None:
        """Stands at the start."""
        super().__init__()
        self.epochs_done = tf.Variable(0, dtype=tf.int64)
        self.steps_done = tf.Variable(0, dtype=tf.int64)
        self.step = tf.Variable(0, dtype=tf.int64)
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64)
        self.best_epoch = tf.Variable(0, dtype=tf.int64)
        self.best_score = tf.Variable(-1.0, dtype=tf.float64)
        self.train_seconds = tf.Variable(0.0, dtype=tf.float64)
        self.input_seconds = tf.Variable(0.0, dtype=tf.float64)


class RunCheckpoints:
    """The checkpoints of one work folder."""

    def __init__(self, workdir: str | os.PathLike, progress: Progress, settings: str, **state: Any) -> None:
        """Takes what is saved; nothing is read or written yet.

        Args:
            workdir: Folder of the run.
            progress: Where the run stands.
            settings: What decides the run, as text; a checkpoint of other settings is not restored.
            **state: Trackables: `model`, whose weights alone are kept as the best, `optimizer`, and others.
        """
        self.workdir = Path(workdir)
        self._settings = settings
        self._held = tf.Variable(settings, dtype=tf.string)
        everything = tf.train.Checkpoint(progress=progress, settings=self._held, **state)
        self._latest = tf.train.CheckpointManager(everything, _folder(workdir, "latest"), max_to_keep=2)
        weights = tf.train.Checkpoint(model=state["model"])
        self._best = tf.train.CheckpointManager(weights, _folder(workdir, "best"), max_to_keep=1)
        self._progress = progress

    def resume(self) -> bool:
        """Restores the newest whole checkpoint; returns False where there is none yet.

        Raises:
            ValueError: No checkpoint that is there can be read, or it is of other settings.
        """
        paths = list(reversed(self._latest.checkpoints))
        for path in paths:
            try:
                self._latest.checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, ValueError, IndexError) as error:
                logging.warning("%s cannot be read and is passed over: %s", path, str(error).splitlines()[0])
                continue
            if self._held.numpy().decode() != self._settings:
                raise ValueError(f"{path}: the checkpoint is of a run of other settings. Name another --workdir.")
            return True
        if paths:
            raise ValueError(
                f"{', '.join(paths)}: none of the checkpoints can be read. Remove the work folder to start anew."
            )
        return False

    def save_latest(self) -> None:
        """Saves everything; the two newest are kept."""
        self._latest.save(checkpoint_number=int(self._progress.step))

    def save_best(self) -> None:
        """Saves the weights of the model as the best ones, in place of those before."""
        self._best.save(checkpoint_number=int(self._progress.step))


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
