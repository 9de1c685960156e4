"""How do gradients of many ranks become one, so that what they agree on counts once and what differs adds up? Adasum.

https://arxiv.org/abs/2006.02924, each tensor by itself: ranks pair up, then pairs with pairs, until all hold the same.
Horovod has an Adasum of its own, but in builds with MPI only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def check_ranks(world_size: int) -> None:
    """Checks that so many ranks can pair up.

    Raises:
        ValueError: Their number is no power of two.
    """
    if world_size & (world_size - 1):
        raise ValueError(f"communication.reduction='adasum' needs 1, 2, 4, 8, ... ranks, not {world_size}.")


def adasum(
    gradients: Sequence[tf.Tensor], rank: int, world_size: int, exchange: Callable[[tf.Tensor, int], tf.Tensor]
) -> list[tf.Tensor]:
    """Returns the gradients of all ranks in one, the same on every rank.

    Args:
        gradients: Those of this rank.
        rank: This rank.
        world_size: Number of ranks, a power of two.
        exchange: Sends a vector to another rank, which sends its own at the same time, and returns that one.

    Raises:
        ValueError: The number of ranks is no power of two.
    """
    check_ranks(world_size)
    mine, distance = list(gradients), 1
    while distance < world_size:
        partner = rank ^ distance
        received = exchange(tf.concat([tf.reshape(gradient, [-1]) for gradient in mine], axis=0), partner)
        vectors = tf.split(received, [gradient.shape.num_elements() for gradient in mine])
        theirs = [tf.reshape(vector, gradient.shape) for vector, gradient in zip(vectors, mine)]
        # In the order of ranks, so that both partners round alike.
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
