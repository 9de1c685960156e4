"""Sums, means, broadcasts and gathers over the ranks of a run, with one code path for 1 or N ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from bigearth_tf.config import CommunicationConfig
from bigearth_tf.distributed.adasum import adasum
from bigearth_tf.distributed.replica import Replica, load_horovod


def reduce_gradients(gradients: Sequence[tf.Tensor], replica: Replica, config: CommunicationConfig) -> list[tf.Tensor]:
    """Returns the gradients of the global batch; no other function reduces gradients.

    They are sent as one group, so that their sums are formed in the same order in every run.

    Raises:
        ValueError: Adasum is requested with a number of ranks that is not a power of two.
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
