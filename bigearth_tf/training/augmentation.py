"""Augmentation of a batch: the eight symmetries of the square, and mixtures of two records.

Land cover seen from above has no preferred direction: a flipped or rotated patch is as probable as the original. Random
numbers are drawn for every row of the global batch, and a rank takes those of its rows: the number of ranks does not
change how a row is augmented. Everything compiles under XLA, which draws the same numbers.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf
from scipy import stats

# Number of equally probable values of a share in a mixture; the steps between so many values are negligible.
_NUM_SHARES = 4096
# Folded into the seed of a step, so that the draws of one step are independent.
_SYMMETRY, _MIXUP = 1, 2


def random_symmetry(
    bands: dict[str, tf.Tensor], seed: tf.Tensor, *, first_row: int, global_batch_size: int
) -> dict[str, tf.Tensor]:
    """Returns bands {name: [B, h, h]}, each record transposed or not, flipped up-down or not, left-right or not.

    Args:
        bands: Band name -> pixels [B, h, h], of any type and of any square size.
        seed: int32 [2], not negative, different for each step; the same seed draws the same symmetries.
        first_row: Index in the global batch of the first of this rank's B rows.
        global_batch_size: Rows of all ranks.
    """
    choices = _draw(3, 2, _fold(seed, _SYMMETRY), bands, first_row, global_batch_size) == 1
    transpose, flip_rows, flip_columns = tf.unstack(choices[:, :, tf.newaxis, tf.newaxis])
    augmented = {}
    for name, pixels in bands.items():
        pixels = tf.where(transpose, tf.transpose(pixels, [0, 2, 1]), pixels)
        pixels = tf.where(flip_rows, pixels[:, ::-1], pixels)
        augmented[name] = tf.where(flip_columns, pixels[:, :, ::-1], pixels)
    return augmented


def mixup(
    bands: dict[str, tf.Tensor],
    labels: tf.Tensor,
    seed: tf.Tensor,
    alpha: float,
    *,
    first_row: int,
    global_batch_size: int,
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Returns bands and labels of records mixed with their neighbors (https://arxiv.org/abs/1710.09412).

    Row i of the global batch keeps a share of itself, drawn from Beta(alpha, alpha) for each row, and takes the rest
    from row i XOR 1. NOTE: the paper mixes each record with any record of the batch, and draws one share. Records are
    shuffled, so a neighbor is any record; and both records of a pair are on one rank, so the result does not depend on
    the number of ranks.

    Pixels keep their storage type, which the model's inputs have; rounding to integers changes a value by at most half
    a digital number.

    Args:
        bands: Band name -> pixels [B, h, h], B even.
        labels: [B, K] in 0 ... 1.
        seed: int32 [2], not negative, different for each step; it may be that of `random_symmetry`.
        alpha: Above 0; a larger alpha gives shares nearer to one half.
        first_row: Index in the global batch of the first of this rank's B rows; even.
        global_batch_size: Rows of all ranks.

    Raises:
        ValueError: A pair would be split, because the number of rows of a rank is odd or not known.
    """
    check_mixup(alpha, labels.shape[0], global_batch_size, first_row)
    drawn = _draw(1, _NUM_SHARES, _fold(seed, _MIXUP), bands, first_row, global_batch_size)[0]
    shares = tf.gather(_shares(alpha), drawn)
    mixed = {name: _mix(pixels, shares[:, tf.newaxis, tf.newaxis]) for name, pixels in bands.items()}
    return mixed, _mix(labels, shares[:, tf.newaxis])


def check_mixup(alpha: float, rank_rows: int | None, global_batch_size: int, first_row: int = 0) -> None:
    """Checks that the records of a rank can be mixed in pairs.

    Raises:
        ValueError: The number of records is odd or not known, or a pair begins on another rank.
    """
    if rank_rows is None or rank_rows % 2 or first_row % 2:
        raise ValueError(
            f"data.mixup_alpha={alpha} mixes pairs of records, so each rank needs an even number, not {rank_rows} "
            f"(global_batch_size={global_batch_size}). Choose a global_batch_size that is a multiple of twice the "
            "number of ranks, or data.mixup_alpha=0."
        )


def _draw(
    num_draws: int, end: int, seed: tf.Tensor, bands: dict[str, tf.Tensor], first_row: int, num_rows: int
) -> tf.Tensor:
    """Returns int32 [num_draws, B] in 0 ... end - 1: this rank's part of the draws for the global batch."""
    drawn = tf.random.stateless_uniform([num_draws, num_rows], seed, 0, end, tf.int32)
    own_rows = tf.shape(next(iter(bands.values())))[0]
    return tf.slice(drawn, [0, first_row], tf.stack([num_draws, own_rows]))


def _fold(seed: tf.Tensor, purpose: int) -> tf.Tensor:
    """Returns the seed of a purpose, int32 [2]."""
    # Without the sign: XLA and TensorFlow extend negative seeds to 64 bits differently, and would draw other numbers.
    return tf.bitwise.bitwise_and(tf.random.fold_in(seed, purpose), tf.int32.max)


@functools.lru_cache(maxsize=1)
def _shares(alpha: float) -> np.ndarray:
    """Returns the middles of equally probable parts of Beta(alpha, alpha), float32 [_NUM_SHARES].

    A table is used because XLA does not compile TensorFlow's gamma distribution.
    """
    middles = (np.arange(_NUM_SHARES) + 0.5) / _NUM_SHARES
    return stats.beta.ppf(middles, alpha, alpha).astype(np.float32)


def _mix(rows: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    values = tf.cast(rows, tf.float32)
    pairs = tf.reshape(values, [-1, 2, *values.shape[1:]])
    others = tf.reshape(pairs[:, ::-1], tf.shape(values))
    mixed = shares * values + (1.0 - shares) * others
    return tf.cast(tf.round(mixed) if rows.dtype.is_integer else mixed, rows.dtype)
