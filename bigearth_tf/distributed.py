"""Which part of the work is mine, and what do all ranks agree on? One code path for 1 or N ranks.

The only importer of horovod, which is loaded only in a process that a Horovod launcher started; without it a run is
rank 0 of 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from bigearth_tf.adasum import adasum
from bigearth_tf.config import CommunicationConfig
from bigearth_tf.together import RanksDiffer, host_name, together

_LONGEST_VALUE = 400
T = TypeVar("T")


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


def start(fusion_mb: float = CommunicationConfig.fusion_mb) -> Replica:
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
    hvd = _horovod()
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


def _horovod() -> Any:
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise RuntimeError("Several ranks need Horovod: `make setup` builds it (README, Set-up).") from error
    return hvd


def reduce_gradients(gradients: Sequence[tf.Tensor], replica: Replica, config: CommunicationConfig) -> list[tf.Tensor]:
    """Returns the gradients of the global batch: the one place where gradients are reduced.

    They travel as one group, so that their sums are formed in the same order in every run.

    Raises:
        ValueError: Adasum was asked for with a number of ranks that is no power of two.
    """
    if replica.world_size == 1:
        return list(gradients)
    hvd = _horovod()
    compression = hvd.Compression.fp16 if config.compression == "fp16" else hvd.Compression.none
    if config.reduction == "average":
        return hvd.grouped_allreduce(list(gradients), op=hvd.Average, compression=compression)

    def exchange(vector: tf.Tensor, partner: int) -> tf.Tensor:
        sent, context = compression.compress(vector)
        everything_to_partner = tf.one_hot(partner, replica.world_size, on_value=tf.size(sent), off_value=0)
        return compression.decompress(hvd.alltoall(sent, everything_to_partner)[0], context)

    return adasum(gradients, replica.rank, replica.world_size, exchange)


def mean_of_ranks(tensor: tf.Tensor, replica: Replica) -> tf.Tensor:
    """Returns the mean of a tensor over all ranks, on every rank."""
    return tensor if replica.world_size == 1 else _horovod().allreduce(tensor, op=_horovod().Average)


def broadcast(variables: Sequence[tf.Variable], replica: Replica) -> None:
    """Sets the variables of every rank to those of rank 0."""
    if replica.world_size > 1:
        _horovod().broadcast_variables(list(variables), root_rank=0)


def gather(value: Any, replica: Replica) -> list[Any]:
    """Returns the Python objects of all ranks, in the order of ranks, on every rank."""
    return [value] if replica.world_size == 1 else _horovod().allgather_object(value)


def run_together(action: Callable[[], T], replica: Replica) -> T:
    """Returns what `action` returns on this rank, once it has gone well on all ranks; none goes on before.

    Raises:
        Exception: Its own, where it failed on every rank.
        RanksDiffer: It failed on some ranks only.
    """
    return together(action, lambda message: gather(message, replica))


def check_equal(facts: dict[str, Any], replica: Replica, remedy: str = "") -> None:
    """Checks that all ranks hold the same facts; of a fact that is a dict, what differs in it is told.

    Raises:
        RanksDiffer: On every rank, naming the fact and the first rank that differs from rank 0.
    """
    held = gather((host_name(), facts), replica)
    host, first = held[0]
    for name, value in first.items():
        others = [rank for rank, (_, other) in enumerate(held) if other.get(name) != value]
        if others:
            rank = others[0]
            here, there = _what_differs(value, held[rank][1].get(name))
            more = f"; {len(others)} ranks differ from rank 0" if len(others) > 1 else ""
            raise RanksDiffer(
                f"Ranks disagree on {name}: rank 0 has {here}, rank {rank} has {there}. "
                f"(Rank 0 runs on {host}, rank {rank} on {held[rank][0]}{more}.) {remedy}".rstrip()
            )


def _what_differs(one: Any, other: Any) -> list[str]:
    """Returns two values as texts; of two dicts, the fields that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        sides = [_leaves(one), _leaves(other)]
        names = [name for name in {**sides[0], **sides[1]} if sides[0].get(name) != sides[1].get(name)]
        texts = [", ".join(f"{name}={side.get(name, 'none')}" for name in names) for side in sides]
    else:
        texts = [str(one), str(other)]
    return [textwrap.shorten(text, _LONGEST_VALUE, placeholder=" ...") for text in texts]


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found = {}
    for name, field in value.items():
        inner = _leaves(field, f"{prefix}{name}.") if isinstance(field, dict) else {}
        found.update(inner or {f"{prefix}{name}": json.dumps(field, default=str)})
    return found


def clock_offsets(replica: Replica, rounds: int = 5) -> list[float]:
    """Returns how far the clock of each rank is ahead of rank 0's, in seconds, as exact as an allreduce is quick."""
    times = []
    for _ in range(rounds):
        mean_of_ranks(tf.zeros([]), replica).numpy()  # All ranks leave it at about the same time.
        times.append(time.time())
    table = np.array(gather(times, replica))
    return np.median(table - table[0], axis=1).tolist()


def allreduce_seconds(num_bytes: int, repeats: int, replica: Replica) -> float:
    """Returns how long a sum over ranks takes: the median of some, on the slowest rank."""
    values, times = tf.zeros([num_bytes // 4]), []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        mean_of_ranks(values, replica)[0].numpy()
        times.append(time.perf_counter() - started)
    return max(gather(float(np.median(times[1:])), replica))  # The first one sets things up.


def digest(variables: Sequence[tf.Variable]) -> str:
    """Returns a hash of the values of variables, in order."""
    hashed = hashlib.sha256()
    for variable in variables:
        hashed.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return hashed.hexdigest()[:16]


@contextlib.contextmanager
def peer_errors(replica: Replica) -> Iterator[None]:
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


def synchronise_batch_norm(model: Any, replica: Replica) -> None:
    """Makes every batch norm of a model work with the mean and variance of the global batch.

    E[x] and E[x^2] are averaged over ranks; all ranks have equally many records. Gradients flow through the reduction.
    On one rank it computes in the same way, without the fused kernel, whose moving variance is that of a sample.
    """

    def mean_and_variance(inputs: tf.Tensor, axes: Any, keep_dims: bool, **_: Any) -> tuple[tf.Tensor, tf.Tensor]:
        wide = tf.cast(inputs, tf.float32)
        moments = [tf.reduce_mean(power, axes, keepdims=keep_dims) for power in (wide, wide**2)]
        mean, square = tf.unstack(mean_of_ranks(tf.stack(moments), replica))
        return tf.cast(mean, inputs.dtype), tf.cast(tf.maximum(square - mean**2, 0.0), inputs.dtype)

    for layer in model._flatten_layers():
        # Keras asks this method for the statistics of a training batch, wherever the fused kernel is not used.
        if hasattr(layer, "_calculate_mean_and_var"):
            layer.fused = False
            layer._calculate_mean_and_var = mean_and_variance
