"""The training step: one optimizer update on one global batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from bigearth_tf.config import TrainConfig
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.training import dropout_seeding
from bigearth_tf.training.augmentation import mixup, random_symmetry
from bigearth_tf.training.losses import l2_penalty
from bigearth_tf.training.state import TrainState


class Requests(NamedTuple):
    """What to do after a step: save, stop. In a training step these are float32 scalars, 0 for no and 1 for yes."""

    save: Any
    stop: Any


class StepOutput(NamedTuple):
    """The output of a step, float32 scalars, the same on all ranks except `rank_loss`.

    `loss` is the mean of the `rank_loss` of all ranks. A request is greater than 0 if any rank made it.
    """

    rank_loss: tf.Tensor
    loss: tf.Tensor
    requests: Requests


TrainStep = Callable[[dict[str, Any], tf.Tensor, Requests], StepOutput]


def make_train_step(state: TrainState, config: TrainConfig, replica: Replica) -> TrainStep:
    """Returns a compiled function that updates the state: this rank's batch, step number, requests -> StepOutput.

    With R ranks of B rows each, step t computes

        x_i, y_i = mixup(symmetry(bands_i), labels_i)    of each row i, drawn from (seed, t, i)
        loss_r   = 1/B sum_i loss(y_i, model(x_i)) + l2 sum_k |kernel_k|^2    of rank r
        g        = 1/R sum_r gradient of loss_r          in one allreduce, or combined by Adasum
        g        = g / loss scale                        mixed_float16 only
        g        = g min(1, clip_norm / |g|)             |g| over all gradients together
        weights  = optimizer(weights, g)                 skipped by the loss scale where g is not finite
        average  = moving average of the weights         with optimizer.ema_decay only

    With `accumulate` = A, loss_r and its gradient are the means over A parts of the rank's batch. The losses and
    the requests of all ranks are averaged in one further allreduce, so that the ranks agree on what to do after the
    step without another message.
    """
    # Without AutoGraph: no Python branch here depends on a tensor, and converting the code takes seconds per process.
    differentiate = tf.function(_make_differentiate(state, config), jit_compile=config.xla, autograph=False)

    def train_step(batch: dict[str, Any], step: tf.Tensor, requests: Requests) -> StepOutput:
        bands, labels = _vary(batch, step, config, replica)
        # Once for all parts of a step: each part draws the next numbers.
        dropout_seeding.reset(state.dropouts, step, replica.rank)
        rank_loss, gradients = differentiate(bands, labels)
        gradients = collectives.reduce_gradients(gradients, replica, config.communication)
        if config.precision == "mixed_float16":
            gradients = state.optimizer.get_unscaled_gradients(gradients)
        if config.optimizer.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.optimizer.clip_norm)
        state.optimizer.apply_gradients(zip(gradients, state.model.trainable_variables))
        if state.average:
            state.average.update()
        agreed = collectives.mean_of_ranks(tf.stack([rank_loss, *requests]), replica)
        return StepOutput(rank_loss, agreed[0], Requests(agreed[1], agreed[2]))

    return tf.function(train_step, autograph=False)


def _make_differentiate(state: TrainState, config: TrainConfig) -> Callable[..., tuple[tf.Tensor, list[tf.Tensor]]]:
    """Returns a function of bands and labels -> mean loss, gradients of this rank's batch, scaled for float16."""
    model, parts = state.model, config.optimizer.accumulate
    variables = model.trainable_variables

    def differentiate_part(bands: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(state.loss(labels, model(bands, training=True)))
            if config.loss.l2:
                loss += l2_penalty(variables, config.loss.l2)
            target = loss
            if config.precision == "mixed_float16":
                target = state.optimizer.get_scaled_loss(loss)
        return loss, tape.gradient(target, variables)

    def differentiate(bands: dict[str, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        split = {name: tf.split(pixels, parts) for name, pixels in bands.items()}
        loss, gradients = differentiate_part(
            {name: pixels[0] for name, pixels in split.items()}, tf.split(labels, parts)[0]
        )
        for index in range(1, parts):
            # A part starts after the gradients of the previous part; otherwise memory would hold all parts at once.
            with tf.control_dependencies(gradients):
                bands_of_part = {name: tf.identity(pixels[index]) for name, pixels in split.items()}
            more_loss, more = differentiate_part(bands_of_part, tf.split(labels, parts)[index])
            loss, gradients = loss + more_loss, [one + other for one, other in zip(gradients, more)]
        return loss / parts, [gradient / parts for gradient in gradients]

    return differentiate


def _vary(
    batch: dict[str, Any], step: tf.Tensor, config: TrainConfig, replica: Replica
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Returns the bands and labels of a batch after augmentation and mixup."""
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
    return bands, labels
