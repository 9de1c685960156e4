"""The log of a run: `history.jsonl` for programs, TensorBoard for people.

`history.jsonl` has a line for each step (`step`, `loss`, `learning_rate`) and a line for each epoch (`epoch`, its mean
loss, the validation scores). It contains nothing that depends on the clock: a run that was killed and resumed ends with
the same lines as one that was not. What depends on the clock goes to TensorBoard only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.metrics import format_main_scores
from bigearth_tf.runtime.files import write_text_atomically

HISTORY_NAME = "history.jsonl"
_SUMMARY_EVERY_STEPS = 20


class RunLog:
    """The log of one run; on ranks other than 0 it writes nothing."""

    def __init__(self, workdir: Path, replica: Replica, *, step: int, epochs_done: int) -> None:
        """Removes the lines of an interrupted run after `step` and `epochs_done`; they will be written again."""
        self._writes = replica.is_chief
        self._summaries = tf.summary.create_noop_writer()
        self._lines: list[str] = []
        if self._writes:
            self._path = workdir / HISTORY_NAME
            self._remove_after(step, epochs_done)
            self._summaries = tf.summary.create_file_writer(os.fspath(workdir / "tensorboard"))

    def _remove_after(self, step: int, epochs_done: int) -> None:
        kept = []
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines(keepends=True):
                if not line.endswith("\n"):  # A killed process may have written a part of its last line.
                    break
                row = json.loads(line)
                # A process that was killed between a validation and its save left a line of an epoch that is not done.
                if row["step"] > step or row.get("epoch", 0) > epochs_done:
                    break
                kept.append(line)
        write_text_atomically(self._path, "".join(kept))

    def step(self, step: int, loss: float, learning_rate: float, images_per_s: float, input_share: float) -> None:
        """Logs a training step; `images_per_s` and `input_share` depend on the clock."""
        self._append({"step": step, "loss": loss, "learning_rate": learning_rate})
        if step % _SUMMARY_EVERY_STEPS == 0:
            self._scalars(
                step,
                {
                    "train/loss": loss,
                    "train/learning_rate": learning_rate,
                    "train/images_per_s": images_per_s,
                    "train/input_share": input_share,
                },
            )

    def epoch(self, epoch: int, step: int, loss: float, scores: dict[str, float], is_best: bool) -> None:
        """Logs an epoch, counted from 1, and flushes."""
        self._append({"epoch": epoch, "step": step, "loss": loss, "is_best": is_best, "val": scores})
        self._scalars(step, {"epoch/loss": loss, **{f"val/{name}": score for name, score in scores.items()}})
        self.flush()
        if self._writes:
            best = ", best so far" if is_best else ""
            logging.info("epoch %d: loss %.4f, val %s%s", epoch, loss, format_main_scores(scores), best)

    def images(self, step: int, images: Any, text: str) -> None:
        """Logs sample images [N, H, W, 3] in 0 ... 1 and, as Markdown, the predictions for them."""
        with self._summaries.as_default():
            tf.summary.image("val/samples", images, step, max_outputs=len(images))
            tf.summary.text("val/predictions", text, step)

    def flush(self) -> None:
        """Writes everything to disk. Call it before each checkpoint, which must not be ahead of the log."""
        if self._writes and self._lines:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(self._lines))
                file.flush()
                os.fsync(file.fileno())
            self._lines.clear()
        self._summaries.flush()

    def _append(self, row: dict[str, Any]) -> None:
        if self._writes:
            self._lines.append(json.dumps(row) + "\n")

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        with self._summaries.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step)
