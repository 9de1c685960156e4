"""The place of this process among the ranks of a run, and how it joins them.

The only importer of Horovod among those that train; it is loaded only in a process that a launcher started.
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
    """One of `world_size` processes that train the same model; `local_rank` counts on its host."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this rank logs and writes."""
        return self.rank == 0


# Who says how many processes were started: launchers of Horovod (ours, horovodrun), Open MPI's mpirun, others', srun.
_SIZES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


# Ranks ask each other once a cycle what is ready, and on CPUs that takes the core from the training: at Horovod's 1 ms
# and with one core a rank it was a sixth of a ResNet50's step of two ranks.
_CYCLE_OF_CPUS_MS = "10"


def start_replica(fusion_mb: float = CommunicationConfig.fusion_mb) -> Replica:
    """Returns this process's replica, joining its peers where a launcher started several.

    Args:
        fusion_mb: Tensors are sent together up to this many 10^6 bytes; the launcher's HOROVOD_FUSION_THRESHOLD wins.

    Raises:
        RuntimeError: A launcher started several ranks but Horovod is not installed.
        ValueError: Several processes were started in a way that leaves each by itself.
    """
    told = next((name for name in _SIZES if name in os.environ), "")
    if not told or int(os.environ[told]) == 1:
        return Replica()
    os.environ.setdefault("HOROVOD_FUSION_THRESHOLD", str(int(fusion_mb * 1e6)))
    hvd = load_horovod()
    if told != "HOROVOD_SIZE" and not hvd.mpi_built():
        raise ValueError(
            f"{os.environ[told]} processes were started ({told}), but this Horovod was built without MPI, so that each "
            "would train by itself. Start them by `python -m bigearth_tf.launch -- ...` or by horovodrun."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        os.environ.setdefault("HOROVOD_CYCLE_TIME", _CYCLE_OF_CPUS_MS)
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
        raise RuntimeError("Several ranks need Horovod: `make setup` builds it (README, Set-up).") from error
    return hvd


@contextlib.contextmanager
def translate_peer_errors(replica: Replica) -> Iterator[None]:
    """Turns Horovod's error for a peer that is gone into one that a user can read.

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
        # Inside a compiled function Horovod's error arrives as TensorFlow's UnknownError.
        if isinstance(error, tf.errors.OpError) and "Horovod" not in str(error):
            raise
        raise ConnectionError(
            f"rank {replica.rank} lost another rank, which ended or cannot be reached; its own output, above or in its "
            "log, says why. Run again with the same --workdir to go on from the latest checkpoint."
        ) from error
