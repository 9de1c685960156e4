"""What is it that trains? Model, optimiser and loss of a config, and one step of them over a batch.

A step is a pure function of weights, batch, seed and step number: what is random in it (augmentation, mixup and
dropout) is drawn from those and from the row of a record in the global batch, so that a run can stop and go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from bigearth_tf import adasum, distributed, dropout_seeding
from bigearth_tf.augmentation import mixup, random_symmetry
from bigearth_tf.bands import Band
from bigearth_tf.config import TrainConfig, parse_overrides
from bigearth_tf.distributed import Replica
from bigearth_tf.losses import l2_penalty, make_loss
from bigearth_tf.manifest import Manifest
from bigearth_tf.models import create_model
from bigearth_tf.optimizers import build, make_optimizer, optimizer_variables
from bigearth_tf.schedules import make_schedule
from bigearth_tf.weight_average import WeightAverage


@dataclasses.dataclass(frozen=True)
class Training:
    """What a run trains with. `optimizer` scales the loss where the precision is mixed_float16."""

    model: keras.Model
    optimizer: Any
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    average: WeightAverage | None
    dropouts: Sequence[Any]

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything that moves, in an order that all ranks share."""
        average = self.average.variables if self.average else ()
        return [*self.model.variables, *optimizer_variables(self.optimizer), *average]


def make_training(
    config: TrainConfig, manifest: Manifest, bands: Sequence[Band], steps: int, replica: Replica
) -> Training:
    """Returns what a config trains with, its weights drawn from the config's seed.

    Args:
        config: The run.
        manifest: Of its data.
        bands: Rows of the bands that the model sees.
        steps: Optimiser steps of the whole run.
        replica: This rank.

    Raises:
        ValueError: The config does not fit the data, or the number of ranks.
    """
    if config.communication.reduction == "adasum":
        adasum.check_ranks(replica.world_size)
    class_counts, num_records = manifest.class_counts("train"), manifest.num_records("train")
    loss = make_loss(config.loss, manifest.label_kind, class_counts, num_records)
    schedule = make_schedule(config.schedule, steps, config.global_batch_size)
    keras.utils.set_random_seed(config.seed)
    keras.backend.experimental.enable_tf_random_generator()  # What dropout_seeding needs.
    keras.mixed_precision.set_global_policy(config.precision)
    try:
        overrides = parse_overrides(config.model_overrides)
        model = create_model(config.model, bands=bands, num_classes=len(manifest.class_names), **overrides)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    if config.communication.sync_batch_norm:
        distributed.synchronise_batch_norm(model, replica)
    optimizer = make_optimizer(config.optimizer, schedule, scale_loss=config.precision == "mixed_float16")
    build(optimizer, model.trainable_variables)
    average = None
    if config.optimizer.ema_decay:
        average = WeightAverage(model.variables, config.optimizer.ema_decay)
    return Training(model, optimizer, loss, average, dropout_seeding.seed_dropout(model, config.seed))


def make_train_step(
    training: Training, config: TrainConfig, replica: Replica
) -> Callable[[dict[str, Any], tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `train_step(batch, step, wishes) -> float32 [2 + W]`, which moves the weights.

    The answer is this rank's mean loss, the mean loss of all ranks, and the largest of all ranks' `wishes` [W]: by them
    the ranks agree, without a further message, on what to do after the step.
    """
    differentiate = tf.function(_make_differentiate(training, config), jit_compile=config.xla)

    def train_step(batch: dict[str, Any], step: tf.Tensor, wishes: tf.Tensor) -> tf.Tensor:
        batch = _vary(batch, step, config, replica)
        # One way of drawing for all parts of a step: dropout goes on from part to part.
        dropout_seeding.reset(training.dropouts, step, replica.rank)
        loss, gradients = differentiate(batch["bands"], batch["labels"])
        gradients = distributed.reduce_gradients(gradients, replica, config.communication)
        if config.precision == "mixed_float16":
            gradients = training.optimizer.get_unscaled_gradients(gradients)
        if config.optimizer.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.optimizer.clip_norm)
        training.optimizer.apply_gradients(zip(gradients, training.model.trainable_variables))
        if training.average:
            training.average.update()
        agreed = distributed.mean_of_ranks(tf.concat([[loss], wishes], axis=0), replica)
        return tf.concat([[loss], agreed], axis=0)

    return tf.function(train_step)


def _make_differentiate(training: Training, config: TrainConfig) -> Callable[..., tuple[tf.Tensor, list[tf.Tensor]]]:
    """Returns a function of bands and labels -> mean loss, gradients of this rank's batch, scaled for float16."""
    model, parts = training.model, config.optimizer.accumulate
    variables = model.trainable_variables

    def part(bands: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(training.loss(labels, model(bands, training=True)))
            if config.loss.l2:
                loss += l2_penalty(variables, config.loss.l2)
            target = loss
            if config.precision == "mixed_float16":
                target = training.optimizer.get_scaled_loss(loss)
        return loss, tape.gradient(target, variables)

    def differentiate(bands: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        split = {name: tf.split(pixels, parts) for name, pixels in bands.items()}
        loss, gradients = part({name: pixels[0] for name, pixels in split.items()}, tf.split(labels, parts)[0])
        for index in range(1, parts):
            # The next part begins when the gradients of this one are there, or memory would hold all parts at once.
            with tf.control_dependencies(gradients):
                bands_of_part = {name: tf.identity(pixels[index]) for name, pixels in split.items()}
            more_loss, more = part(bands_of_part, tf.split(labels, parts)[index])
            loss, gradients = loss + more_loss, [one + other for one, other in zip(gradients, more)]
        return loss / parts, [gradient / parts for gradient in gradients]

    return differentiate


def _vary(batch: dict[str, Any], step: tf.Tensor, config: TrainConfig, replica: Replica) -> dict[str, Any]:
    """Returns the batch as augmentation and mixup leave it."""
    bands, labels = batch["bands"], batch["labels"]
    first_row = replica.rank * (config.global_batch_size // replica.world_size)
    seed = tf.stack([config.seed, tf.cast(step, tf.int32)])
    if config.data.augment:
        bands = random_symmetry(bands, seed, first_row=first_row, global_batch_size=config.global_batch_size)
    if config.data.mixup_alpha:
        bands, labels = mixup(
            bands,
            labels,
            seed,
            alpha=config.data.mixup_alpha,
            first_row=first_row,
            global_batch_size=config.global_batch_size,
        )
    return {"bands": bands, "labels": labels}
