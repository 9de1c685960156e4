"""Which part of the work is mine, and what do all ranks agree on? One code path for 1 or N ranks.

The only importer of horovod, which is loaded only in a process that a Horovod launcher started; without it a run is
rank 0 of 1.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bigearth_tf.config import CommunicationConfig
from bigearth_tf.distributed.adasum import adasum
from bigearth_tf.distributed.replica import Replica, load_horovod


def reduce_gradients(gradients: Sequence[tf.Tensor], replica: Replica, config: CommunicationConfig) -> list[tf.Tensor]:
    """Returns the gradients of the global batch: the one place where gradients are reduced.

    They travel as one group, so that their sums are formed in the same order in every run.

    Raises:
        ValueError: Adasum was asked for with a number of ranks that is no power of two.
    """
    if replica.world_size == 1:
        return list(gradients)
    hvd = load_horovod()
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
    return tensor if replica.world_size == 1 else load_horovod().allreduce(tensor, op=load_horovod().Average)


def broadcast(variables: Sequence[tf.Variable], replica: Replica) -> None:
    """Sets the variables of every rank to those of rank 0."""
    if replica.world_size > 1:
        load_horovod().broadcast_variables(list(variables), root_rank=0)


def gather(value: Any, replica: Replica) -> list[Any]:
    """Returns the Python objects of all ranks, in the order of ranks, on every rank."""
    return [value] if replica.world_size == 1 else load_horovod().allgather_object(value)


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
