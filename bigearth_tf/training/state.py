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

from bigearth_tf.config import TrainConfig, parse_overrides
from bigearth_tf.data.bands import Band
from bigearth_tf.data.manifest import Manifest
from bigearth_tf.distributed import adasum
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.sync_batch_norm import synchronize_batch_norm
from bigearth_tf.models.registry import create_model
from bigearth_tf.training import dropout_seeding
from bigearth_tf.training.losses import make_loss
from bigearth_tf.training.optimizers import build, make_optimizer, optimizer_variables
from bigearth_tf.training.schedules import make_schedule
from bigearth_tf.training.weight_average import WeightAverage


@dataclasses.dataclass(frozen=True)
class TrainState:
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


def make_train_state(
    config: TrainConfig, manifest: Manifest, bands: Sequence[Band], steps: int, replica: Replica
) -> TrainState:
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
        synchronize_batch_norm(model, replica)
    optimizer = make_optimizer(config.optimizer, schedule, scale_loss=config.precision == "mixed_float16")
    build(optimizer, model.trainable_variables)
    average = None
    if config.optimizer.ema_decay:
        average = WeightAverage(model.variables, config.optimizer.ema_decay)
    return TrainState(model, optimizer, loss, average, dropout_seeding.seed_dropout(model, config.seed))
