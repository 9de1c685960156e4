"""This process as one of the ranks of a run, and how it joins the others.

Only this module and the launcher import Horovod; this module does so only in a process that a launcher started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from bigearth_tf.config import CommunicationConfig


@dataclasses.dataclass(frozen=True)
class Replica:
    """One of `world_size` processes that train the same model; `local_rank` is its index on its host."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this is the rank that logs and writes files."""
        return self.rank == 0


# Variables with the number of processes, in this order: of Horovod's launchers (ours, horovodrun), of Open MPI's
# mpirun, of other launchers, and of srun.
_SIZE_VARIABLES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")

# Once per cycle the ranks ask each other which tensors are ready; on CPUs this takes time from training: with Horovod's
# default of 1 ms, a sixth of a step of ResNet50 on two ranks of one core each.
_CPU_CYCLE_MS = "10"


def start_replica(fusion_mb: float = CommunicationConfig.fusion_mb) -> Replica:
    """Joins the other ranks, if a launcher started several, and returns the replica of this process.

    Args:
        fusion_mb: Tensors are sent together up to this size, in 10^6 bytes; HOROVOD_FUSION_THRESHOLD overrides it.

    Raises:
        RuntimeError: A launcher started several ranks but Horovod is not installed.
        ValueError: Several processes were started in such a way that each would train by itself.
    """
    variable = next((name for name in _SIZE_VARIABLES if name in os.environ), "")
    if not variable or int(os.environ[variable]) == 1:
        return Replica()
    os.environ.setdefault("HOROVOD_FUSION_THRESHOLD", str(int(fusion_mb * 1e6)))
    hvd = load_horovod()
    if variable != "HOROVOD_SIZE" and not hvd.mpi_built():
        raise ValueError(
            f"{os.environ[variable]} processes were started ({variable}), but this Horovod was built without MPI: each "
            "would train by itself. Start them by `python -m bigearth_tf.launch -- ...` or by horovodrun."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_MS)
    hvd.init()
    if gpus:
        tf.config.set_visible_devices(gpus[hvd.local_rank() % len(gpus)], "GPU")
    return Replica(hvd.rank(), hvd.local_rank(), hvd.size())


def load_horovod() -> Any:
    """Returns the module `horovod.tensorflow`.

    Raises:
        RuntimeError: Horovod is not installed.
    """
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise RuntimeError("Several ranks need Horovod: `make setup` builds it (README, Requirements).") from error
    return hvd


@contextlib.contextmanager
def convert_lost_rank_errors(replica: Replica) -> Iterator[None]:
    """Turns Horovod's error for a lost rank into one that a user can read.

    Raises:
        ConnectionError: Another rank ended, or the connection to it broke.
    """
    if replica.world_size == 1:
        yield
        return
    from horovod.common.exceptions import HorovodInternalError

    try:
        yield
    except (HorovodInternalError, tf.errors.OpError) as error:
        # From a compiled function Horovod's error arrives as TensorFlow's UnknownError.
        if isinstance(error, tf.errors.OpError) and "Horovod" not in str(error):
            raise
        raise ConnectionError(
            f"rank {replica.rank} lost another rank, which ended or cannot be reached; the output of that rank, above "
            "or in its log, says why. Run again with the same --workdir to resume from the latest checkpoint."
        ) from error
