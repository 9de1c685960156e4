"""Which part of the work is mine? One code path for 1 or N ranks. The only importer of horovod.

Horovod is loaded only in a process that a Horovod launcher started; without it a run is rank 0 of 1.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Replica:
    """One of `world_size` processes that train the same model; `local_rank` counts on its host."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this rank logs and writes."""
        return self.rank == 0


def start() -> Replica:
    """Returns this process's replica, joining its peers where a Horovod launcher set HOROVOD_SIZE.

    Raises:
        RuntimeError: A launcher started several ranks but Horovod is not installed.
    """
    if int(os.environ.get("HOROVOD_SIZE", "1")) == 1:
        return Replica()
    hvd = _horovod()
    hvd.init()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[hvd.local_rank() % len(gpus)], "GPU")
    return Replica(hvd.rank(), hvd.local_rank(), hvd.size())


def _horovod() -> Any:
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise RuntimeError("Several ranks need Horovod: `make setup` builds it (README, Set-up).") from error
    return hvd


def averaging_tape(tape: tf.GradientTape, replica: Replica) -> Any:
    """Returns a tape whose gradients are means over all ranks: the one place where gradients are reduced."""
    return tape if replica.world_size == 1 else _horovod().DistributedGradientTape(tape)


def broadcast(variables: list[tf.Variable], replica: Replica) -> None:
    """Sets the variables of every rank to those of rank 0."""
    if replica.world_size > 1:
        _horovod().broadcast_variables(variables, root_rank=0)


def gather(value: Any, replica: Replica) -> list[Any]:
    """Returns the Python objects of all ranks, in the order of ranks, on every rank."""
    return [value] if replica.world_size == 1 else _horovod().allgather_object(value)
