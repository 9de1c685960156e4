"""The plan of a run: a config that was checked against its data and the number of ranks.

`plan_run` alone decides whether a config can be trained; `experiments.train` and `slurm.submit` both call it. It builds
no model.
"""

from __future__ import annotations

import dataclasses

from bigearth_tf.config import TrainConfig, parse_overrides, validate
from bigearth_tf.data.bands import Band
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed import adasum
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import steps_per_epoch
from bigearth_tf.input.shard_index import check_record_counts
from bigearth_tf.models.registry import model_config
from bigearth_tf.training.augmentation import check_mixup
from bigearth_tf.training.losses import make_loss
from bigearth_tf.training.optimizers import check_optimizer
from bigearth_tf.training.resolve_config import SPLITS, resolve_config
from bigearth_tf.training.schedules import make_schedule, peak_rate


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """A run that can be trained: its config without `auto`, its data, and what follows from them.

    `bands` are the rows of the bands that the model takes.
    """

    config: TrainConfig
    dataset: ShardedDataset
    bands: tuple[Band, ...]
    world_size: int
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.config.epochs


def plan_run(config: TrainConfig, world_size: int) -> RunPlan:
    """Returns the plan of a run on `world_size` ranks.

    Raises:
        FileNotFoundError: The data set has no manifest, or a shard is missing.
        ValueError: The config is wrong, or does not fit the ranks or the data; or a shard does not hold as many whole
            records as the manifest says.
        RuntimeError: The package of the optimizer is not installed.
    """
    check_without_data(config, world_size)
    dataset = ShardedDataset.open(config.data.data_dir)
    manifest = dataset.manifest
    config = resolve_config(config, manifest)
    for split in SPLITS:
        if world_size > dataset.num_records(split):
            raise ValueError(
                f"{world_size} ranks, but the split {split} has {dataset.num_records(split)} records; ask for fewer "
                "ranks."
            )
    bands = dataset.select_bands(config.data.bands)
    steps = steps_per_epoch(manifest, config.global_batch_size, Replica(world_size=world_size))
    plan = RunPlan(config, dataset, bands, world_size, steps)
    make_schedule(config.schedule, plan.total_steps, config.global_batch_size)
    counts, num_records = manifest.class_counts("train"), manifest.num_records("train")
    make_loss(config.loss, dataset.label_kind, counts, num_records, manifest.class_names)
    check_record_counts(dataset)
    return plan


def check_without_data(config: TrainConfig, world_size: int) -> None:
    """Checks the part of a plan that needs no data, for data that do not exist yet.

    Raises:
        ValueError: The config is wrong, or does not fit the ranks.
        RuntimeError: The package of the optimizer is not installed.
    """
    validate(config)
    model_config(config.model, **parse_overrides(config.model_overrides))
    check_optimizer(config.optimizer)
    peak_rate(config.schedule, config.global_batch_size)
    if config.communication.reduction == "adasum":
        adasum.check_power_of_two(world_size)
    _check_batch(config, world_size)
    if config.data.mixup_alpha:
        check_mixup(config.data.mixup_alpha, config.global_batch_size // world_size, config.global_batch_size)


def _check_batch(config: TrainConfig, world_size: int) -> None:
    """Checks that each rank, and each part of its batch, gets the same number of records."""
    batch, parts = config.global_batch_size, config.optimizer.accumulate
    multiple = world_size * parts
    if batch % multiple:
        lower = batch // multiple * multiple
        allowed = " or ".join(f"--config.global_batch_size={size}" for size in (lower, lower + multiple) if size)
        ranks = f"{world_size} ranks" if world_size > 1 else "1 rank"
        each = f"{ranks} in {parts} parts (optimizer.accumulate)" if parts > 1 else ranks
        raise ValueError(f"global_batch_size={batch} cannot be divided among {each}; the nearest that can: {allowed}.")
