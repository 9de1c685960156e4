"""How is a patch varied in training? By the eight symmetries of the square, alike on all its bands.

Land cover seen from above has no up: a flipped or rotated patch is as likely as the patch.
"""

from __future__ import annotations

import tensorflow as tf


def random_symmetry(bands: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns bands {name: [B, h, h]}, each record transposed or not, flipped up-down or not, left-right or not.

    Args:
        bands: Band name -> pixels, of any type and of any square size.
        seed: int32 [2]; the same seed draws the same symmetries.
    """
    num_records = tf.shape(next(iter(bands.values())))[0]
    choices = tf.random.stateless_uniform([3, num_records, 1, 1], seed, 0, 2, tf.int32) == 1
    transpose, flip_rows, flip_columns = tf.unstack(choices)
    varied = {}
    for name, pixels in bands.items():
        pixels = tf.where(transpose, tf.transpose(pixels, [0, 2, 1]), pixels)
        pixels = tf.where(flip_rows, pixels[:, ::-1], pixels)
        varied[name] = tf.where(flip_columns, pixels[:, :, ::-1], pixels)
    return varied
