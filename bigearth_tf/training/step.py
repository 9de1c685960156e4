"""The training step: one optimizer update on one global batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bigearth_tf.config import TrainConfig
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.training import dropout_seeding
from bigearth_tf.training.augmentation import mixup, random_symmetry
from bigearth_tf.training.losses import l2_penalty
from bigearth_tf.training.state import TrainState


def make_train_step(
    training: TrainState, config: TrainConfig, replica: Replica
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
        gradients = collectives.reduce_gradients(gradients, replica, config.communication)
        if config.precision == "mixed_float16":
            gradients = training.optimizer.get_unscaled_gradients(gradients)
        if config.optimizer.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.optimizer.clip_norm)
        training.optimizer.apply_gradients(zip(gradients, training.model.trainable_variables))
        if training.average:
            training.average.update()
        agreed = collectives.mean_of_ranks(tf.concat([[loss], wishes], axis=0), replica)
        return tf.concat([[loss], agreed], axis=0)

    return tf.function(train_step)


def _make_differentiate(training: TrainState, config: TrainConfig) -> Callable[..., tuple[tf.Tensor, list[tf.Tensor]]]:
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
