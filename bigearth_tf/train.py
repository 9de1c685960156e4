"""How is a model trained? One loop for 1 or N ranks, resumed where it stopped, ending in a scored best model."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from bigearth_tf import distributed, losses
from bigearth_tf.augmentation import random_symmetry
from bigearth_tf.checkpoint import RunCheckpoints, restore_best
from bigearth_tf.config import TrainConfig, parse_overrides, validate
from bigearth_tf.distributed import Replica
from bigearth_tf.evaluate import Predictions, make_predict_step, predict_dataset
from bigearth_tf.input_pipeline import make_eval_dataset, make_train_dataset, steps_per_epoch
from bigearth_tf.labels import multi_hot
from bigearth_tf.manifest import Manifest, read_manifest, write_text_atomically
from bigearth_tf.metrics import SELECTION_SCORES, compute_class_scores, compute_scores, most_frequent_labels
from bigearth_tf.models import create_model
from bigearth_tf.optimizers import make_optimizer
from bigearth_tf.run_folder import RESULT_NAME, claim
from bigearth_tf.runtime import progress_bar
from bigearth_tf.schedules import make_schedule

_EVAL_BATCH_SIZE = 256


def train(config: TrainConfig, workdir: str | os.PathLike, replica: Replica) -> dict[str, Any]:
    """Trains, evaluates the best checkpoint on the test split, writes `result.json`, and returns what it holds.

    Raises:
        FileNotFoundError: The data set has no manifest, or lacks a shard.
        ValueError: The config does not fit the data, the ranks, or what the work folder already holds.
    """
    validate(config)
    if config.best_metric not in SELECTION_SCORES:
        raise ValueError(f"best_metric={config.best_metric!r}: unknown; allowed: {', '.join(SELECTION_SCORES)}.")
    workdir = Path(workdir)
    manifest = read_manifest(config.data.data_dir)
    if manifest.label_kind != "multi":
        raise ValueError(f"{config.data.data_dir}: single-label data; only multi-label data can be trained on yet.")
    bands = manifest.select_bands(config.data.bands)
    for split in ("train", "val", "test"):
        manifest.split_shards(split)
    steps = steps_per_epoch(manifest, config.global_batch_size, replica)
    if distributed.gather((workdir / RESULT_NAME).exists(), replica)[0]:
        claim(workdir, config, manifest, bands)
        logging.info("%s is complete; name another --workdir for another run.", workdir)
        return json.loads((workdir / RESULT_NAME).read_text(encoding="utf-8"))

    keras.utils.set_random_seed(config.seed)
    overrides = parse_overrides(config.model_overrides)
    model = create_model(config.model, bands=bands, num_classes=len(manifest.class_names), **overrides)
    optimizer = make_optimizer(config.optimizer, make_schedule(config.schedule, steps * config.epochs))
    optimizer.build(model.trainable_variables)
    # Only now, when nothing of the config can be wrong any more, is the folder taken for it.
    if replica.is_chief:
        claim(workdir, config, manifest, bands)
    checkpoints = RunCheckpoints(workdir, model, optimizer)
    if replica.is_chief and checkpoints.resume():
        logging.info("%s: going on after epoch %d of %d.", workdir, int(checkpoints.epochs_done), config.epochs)
    distributed.broadcast([*model.variables, *optimizer.variables, *checkpoints.counters], replica)

    train_step = _make_train_step(model, optimizer, config, replica)
    predict_step = make_predict_step(model)

    def predict(split: str) -> Predictions:
        batch_size = min(config.global_batch_size // replica.world_size, _EVAL_BATCH_SIZE)
        dataset = make_eval_dataset(
            config.data.data_dir, manifest, split, bands, batch_size=batch_size, replica=replica
        )
        return predict_dataset(predict_step, dataset, replica, manifest.num_records(split))

    with _summary_writer(workdir, replica).as_default():
        for epoch in range(int(checkpoints.epochs_done), config.epochs):
            dataset = make_train_dataset(
                config.data.data_dir,
                manifest,
                bands,
                global_batch_size=config.global_batch_size,
                replica=replica,
                seed=config.seed,
                epoch=epoch,
                shuffle_mb=config.data.shuffle_mb,
            )
            started = time.monotonic()
            loss = _train_epoch(train_step, dataset, f"epoch {epoch + 1}/{config.epochs}", steps, config, replica)
            seconds = time.monotonic() - started
            # Batch statistics differ by rank; all evaluate those that are saved.
            distributed.broadcast(model.non_trainable_variables, replica)
            validation = predict("val")
            if replica.is_chief:
                scores = compute_scores(validation.labels, validation.probabilities)
                is_best = checkpoints.save_epoch(epoch + 1, scores[config.best_metric], seconds)
                rate = steps * config.global_batch_size / seconds
                _log_epoch(epoch + 1, loss, scores, rate, float(optimizer.learning_rate), is_best)

    if replica.is_chief:
        restore_best(workdir, model)
    distributed.broadcast(model.variables, replica)
    validation, test = predict("val"), predict("test")
    if replica.is_chief:
        result = _result(config, manifest, model, checkpoints, validation, test)
        write_text_atomically(workdir / RESULT_NAME, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    distributed.gather(None, replica)  # No rank ends before the result is written.
    return json.loads((workdir / RESULT_NAME).read_text(encoding="utf-8"))


def _make_train_step(
    model: keras.Model, optimizer: Any, config: TrainConfig, replica: Replica
) -> Callable[[dict[str, Any]], tf.Tensor]:
    """Returns a compiled function that takes a batch, moves the weights, and returns the mean loss of this rank."""

    @tf.function
    def train_step(batch: dict[str, Any]) -> tf.Tensor:
        bands = batch["bands"]
        if config.data.augment:
            draw = tf.cast(optimizer.iterations, tf.int32) * replica.world_size + replica.rank
            bands = random_symmetry(bands, tf.stack([config.seed, draw]))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.binary_cross_entropy(batch["labels"], model(bands, training=True)))
        tape = distributed.averaging_tape(tape, replica)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return train_step


def _train_epoch(
    train_step: Callable[[dict[str, Any]], tf.Tensor],
    dataset: tf.data.Dataset,
    title: str,
    steps: int,
    config: TrainConfig,
    replica: Replica,
) -> float:
    """Runs an epoch behind a progress bar, and returns its mean loss on this rank.

    Raises:
        ValueError: The loss is not finite.
    """
    total = 0.0
    with progress_bar(steps * config.global_batch_size, title, "img", disable=not replica.is_chief, leave=False) as bar:
        for step, batch in enumerate(dataset, start=1):
            total += (loss := float(train_step(batch)))
            if not math.isfinite(loss):
                raise ValueError(
                    f"{title}, step {step}: the loss is {loss}. Lower schedule.peak, or add schedule.warmup_steps."
                )
            bar.update(config.global_batch_size)
            bar.set_postfix(loss=f"{total / step:.4f}", refresh=False)
    return total / steps


def _summary_writer(workdir: Path, replica: Replica) -> Any:
    if replica.is_chief:
        return tf.summary.create_file_writer(os.fspath(workdir / "tensorboard"))
    return tf.summary.create_noop_writer()


def _log_epoch(
    epoch: int, loss: float, scores: dict[str, float], images_per_s: float, learning_rate: float, is_best: bool
) -> None:
    tf.summary.scalar("train/loss", loss, epoch)
    tf.summary.scalar("train/images_per_s", images_per_s, epoch)
    tf.summary.scalar("train/learning_rate", learning_rate, epoch)
    for name, score in scores.items():
        tf.summary.scalar(f"val/{name}", score, epoch)
    logging.info(
        "epoch %d: loss %.4f, val micro F1 %.3f, macro F1 %.3f, %.0f images/s%s",
        epoch,
        loss,
        scores["micro_f1"],
        scores["macro_f1"],
        images_per_s,
        ", best so far" if is_best else "",
    )


def _result(
    config: TrainConfig,
    manifest: Manifest,
    model: keras.Model,
    checkpoints: RunCheckpoints,
    validation: Predictions,
    test: Predictions,
) -> dict[str, Any]:
    """Returns the scores of the best model, of the constant predictor beside it, and what they cost."""
    num_classes = len(manifest.class_names)
    constant = most_frequent_labels(manifest.class_counts("train"), manifest.num_records("train"))
    always = np.tile(multi_hot(constant, num_classes), (len(test.labels), 1))
    return {
        "model": config.model,
        "num_parameters": model.count_params(),
        "best_epoch": int(checkpoints.best_epoch),
        "train_seconds": round(float(checkpoints.train_seconds), 1),
        "val": compute_scores(validation.labels, validation.probabilities),
        "test": compute_scores(test.labels, test.probabilities),
        "test_classes": compute_class_scores(test.labels, test.probabilities, manifest.class_names),
        "always_most_frequent_labels": {
            "labels": [manifest.class_names[index] for index in constant],
            "test": compute_scores(test.labels, always),
        },
    }
