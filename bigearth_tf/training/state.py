"""State of a training run: model, optimizer, loss, average of the weights, and progress.

A step is a pure function of this state, the batch, the seed, the number of the step and the rank, so that a run can
stop and resume: augmentation and mixup are drawn from seed, step and the row of a record in the global batch, dropout
from seed, step, rank and layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from bigearth_tf.config import parse_overrides
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.consensus import check_ranks_agree, digest_variables
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.sync_batch_norm import synchronize_batch_norm
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import Progress, RunCheckpoints
from bigearth_tf.training import dropout_seeding
from bigearth_tf.training.losses import make_loss
from bigearth_tf.training.optimizers import create_slots, list_optimizer_variables, make_optimizer
from bigearth_tf.training.plan import RunPlan
from bigearth_tf.training.schedules import make_schedule
from bigearth_tf.training.weight_average import WeightAverage


@dataclasses.dataclass(frozen=True)
class TrainState:
    """State of a training run.

    `optimizer` scales the loss where the precision is mixed_float16. `loss` takes labels and logits [B, K] and returns
    [B]. `average` is None without optimizer.ema_decay. `dropouts` are the random generators of the model's layers.
    """

    model: keras.Model
    optimizer: Any
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    average: WeightAverage | None
    dropouts: Sequence[Any]
    progress: Progress

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables that a run changes, in an order that all ranks share."""
        average = self.average.variables if self.average else ()
        return [*self.model.variables, *list_optimizer_variables(self.optimizer), *average, *self.progress.variables]

    @property
    def trackables(self) -> dict[str, Any]:
        """What checkpoints contain in addition to the progress, by name."""
        average = {"average": self.average} if self.average else {}
        return {"model": self.model, "optimizer": self.optimizer, **average}


def make_train_state(plan: RunPlan, replica: Replica) -> TrainState:
    """Returns the state at the start of a run, with weights drawn from the seed of the config.

    Raises:
        ValueError: The model cannot be built on these bands.
    """
    config, manifest = plan.config, plan.dataset.manifest
    class_counts, num_records = manifest.class_counts("train"), manifest.num_records("train")
    loss = make_loss(config.loss, manifest.label_kind, class_counts, num_records, manifest.class_names)
    schedule = make_schedule(config.schedule, plan.total_steps, config.global_batch_size)
    keras.utils.set_random_seed(config.seed)
    keras.backend.experimental.enable_tf_random_generator()  # Required by dropout_seeding.
    keras.mixed_precision.set_global_policy(config.precision)
    try:
        overrides = parse_overrides(config.model_overrides)
        model = create_model(config.model, bands=plan.bands, num_classes=plan.dataset.num_classes, **overrides)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    if config.communication.sync_batch_norm:
        synchronize_batch_norm(model, replica)
    optimizer = make_optimizer(config.optimizer, schedule, scale_loss=config.precision == "mixed_float16")
    create_slots(optimizer, model.trainable_variables)
    average = None
    if config.optimizer.ema_decay:
        average = WeightAverage(model.variables, config.optimizer.ema_decay)
    dropouts = dropout_seeding.seed_dropout(model, config.seed)
    return TrainState(model, optimizer, loss, average, dropouts, Progress())


def resume(state: TrainState, checkpoints: RunCheckpoints, replica: Replica) -> None:
    """Sets the state of all ranks to that of the latest checkpoint, or to rank 0's where there is no checkpoint yet.

    Raises:
        ValueError: No checkpoint can be read, or it belongs to a run of other settings.
        RanksDiffer: The ranks do not have the same state afterwards.
    """
    if replica.is_chief and checkpoints.resume():
        logging.info("%s: resuming after step %d.", checkpoints.workdir, int(state.progress.step))
    collectives.broadcast(state.variables, replica)
    check_ranks_agree({"the weights to start from": digest_variables(state.variables)}, replica)
