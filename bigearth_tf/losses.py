"""What does a model minimise? A loss from logits, one number a record."""

from __future__ import annotations

import tensorflow as tf


def binary_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each record, float32 [B]: the mean over its classes.

    Args:
        labels: Multi-hot, float32 [B, K].
        logits: float32 [B, K].
    """
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), axis=-1)
