"""Adasum: gradients of many ranks become one; equal parts count once, orthogonal parts add up.

After https://arxiv.org/abs/2006.02924, for each tensor separately: ranks form pairs, then pairs form pairs, until all
ranks have the same result. Horovod's own Adasum exists only in builds with MPI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def check_power_of_two(world_size: int) -> None:
    """Checks that this number of ranks can form pairs, then pairs of pairs.

    Raises:
        ValueError: The number is not a power of two.
    """
    if world_size & (world_size - 1):
        raise ValueError(f"communication.reduction='adasum' needs 1, 2, 4, 8, ... ranks, not {world_size}.")


def adasum(
    gradients: Sequence[tf.Tensor], rank: int, world_size: int, exchange: Callable[[tf.Tensor, int], tf.Tensor]
) -> list[tf.Tensor]:
    """Returns the combined gradients of all ranks, the same on every rank.

    Args:
        gradients: Gradients of this rank.
        rank: Index of this rank.
        world_size: Number of ranks, a power of two.
        exchange: Sends a vector to the rank with an index, and returns the vector that it sends at the same time.

    Raises:
        ValueError: The number of ranks is not a power of two.
    """
    check_power_of_two(world_size)
    mine, distance = list(gradients), 1
    while distance < world_size:
        partner = rank ^ distance
        received = exchange(tf.concat([tf.reshape(gradient, [-1]) for gradient in mine], axis=0), partner)
        vectors = tf.split(received, [gradient.shape.num_elements() for gradient in mine])
        theirs = [tf.reshape(vector, gradient.shape) for vector, gradient in zip(vectors, mine)]
        # In the order of ranks, so that both partners round in the same way.
        lower, upper = (mine, theirs) if rank < partner else (theirs, mine)
        mine = [combine(one, other) for one, other in zip(lower, upper)]
        distance *= 2
    return mine


def combine(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Returns the Adasum of two gradients: their mean where they are equal, their sum where they are orthogonal."""
    shared = tf.reduce_sum(one * other)

    def kept(gradient: tf.Tensor) -> tf.Tensor:
        return 1.0 - 0.5 * tf.math.divide_no_nan(shared, tf.reduce_sum(tf.square(gradient)))

    return kept(one) * one + kept(other) * other
