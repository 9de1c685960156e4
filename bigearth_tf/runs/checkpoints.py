"""The checkpoints of a run: `latest`, from which it resumes, and `best`, the weights with the best score.

TensorFlow writes the files of a checkpoint under temporary names, renames them, and finally names the checkpoint in the
file `checkpoint`: a process that is killed at any moment leaves the previous checkpoint intact. If the newest is
damaged nevertheless, for example by a power failure, the run resumes from the previous one, with the same result.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging


class Progress(tf.Module):
    """The progress of a run, as variables that its checkpoints contain.

    `epochs_done` counts epochs, `step` the steps of all epochs; `steps_done` and `loss_sum` are the number of steps in
    the current epoch and the sum of their losses. `best_epoch` counts from 1. `train_seconds` is the time in training
    steps, `input_seconds` the part of it spent waiting for input.
    """

    def __init__(self) -> None:
        """Creates the progress at the start of a run."""
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
        """Prepares to save and restore.

        Args:
            workdir: Folder of the run.
            progress: Progress of the run.
            settings: The identity of the run as text; a checkpoint with another text is not restored.
            **state: Trackables: `model`, the only one that `best` contains, `optimizer`, and others.
        """
        self.workdir = Path(workdir)
        self._settings = settings
        self._stored = tf.Variable(settings, dtype=tf.string)
        everything = tf.train.Checkpoint(progress=progress, settings=self._stored, **state)
        self._latest = tf.train.CheckpointManager(everything, _folder(workdir, "latest"), max_to_keep=2)
        weights = tf.train.Checkpoint(model=state["model"])
        self._best = tf.train.CheckpointManager(weights, _folder(workdir, "best"), max_to_keep=1)
        self._progress = progress

    def resume(self) -> bool:
        """Restores the newest checkpoint that can be read; returns False if there is none yet.

        Raises:
            ValueError: No existing checkpoint can be read, or the newest belongs to a run of other settings.
        """
        paths = list(reversed(self._latest.checkpoints))
        for path in paths:
            try:
                self._latest.checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, ValueError, IndexError) as error:
                logging.warning("%s cannot be read and is skipped: %s", path, str(error).splitlines()[0])
                continue
            if self._stored.numpy().decode() != self._settings:
                raise ValueError(f"{path}: the checkpoint is of a run of other settings. Name another --workdir.")
            return True
        if paths:
            raise ValueError(
                f"{', '.join(paths)}: none of the checkpoints can be read. Remove the work folder to start again."
            )
        return False

    def save_latest(self) -> None:
        """Saves everything; the two newest checkpoints are kept."""
        self._latest.save(checkpoint_number=int(self._progress.step))

    def save_best(self) -> None:
        """Saves the weights of the model as the best ones, replacing the previous ones."""
        self._best.save(checkpoint_number=int(self._progress.step))


def save_best(workdir: str | os.PathLike, model: Any) -> None:
    """Saves a model's weights as the best ones of a run that did not train them, such as an import."""
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), _folder(workdir, "best"), max_to_keep=1)
    manager.save(checkpoint_number=0)


def restore_best(workdir: str | os.PathLike, model: Any) -> None:
    """Sets a model's weights to the best ones of a run.

    Raises:
        FileNotFoundError: There is no best checkpoint, because no epoch was finished.
    """
    folder = _folder(workdir, "best")
    path = tf.train.latest_checkpoint(folder)
    if not path:
        raise FileNotFoundError(f"{folder}: there is no best checkpoint. Train first.")
    # In addition to the model's weights, the file contains only TensorFlow's count of saves.
    tf.train.Checkpoint(model=model).restore(path).assert_existing_objects_matched().expect_partial()


def _folder(workdir: str | os.PathLike, name: str) -> str:
    return os.fspath(Path(workdir) / "checkpoints" / name)
