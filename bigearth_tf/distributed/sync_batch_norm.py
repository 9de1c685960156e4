"""Batch normalization over the global batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from bigearth_tf.distributed.collectives import mean_of_ranks
from bigearth_tf.distributed.replica import Replica


def synchronize_batch_norm(model: Any, replica: Replica) -> None:
    """Makes every batch norm layer of a model use the mean and variance of the global batch.

    E[x] and E[x^2] are averaged over ranks, each of which has the same number of records. Gradients flow through the
    averages. A single rank, too, computes without the fused kernel, whose moving variance is the unbiased one.
    """

    def mean_and_variance(inputs: tf.Tensor, axes: Any, keep_dims: bool, **_: Any) -> tuple[tf.Tensor, tf.Tensor]:
        wide = tf.cast(inputs, tf.float32)
        moments = [tf.reduce_mean(power, axes, keepdims=keep_dims) for power in (wide, wide**2)]
        mean, square = tf.unstack(mean_of_ranks(tf.stack(moments), replica))
        return tf.cast(mean, inputs.dtype), tf.cast(tf.maximum(square - mean**2, 0.0), inputs.dtype)

    for layer in model._flatten_layers():
        # Keras calls this method for the statistics of a training batch if the fused kernel is not used.
        if hasattr(layer, "_calculate_mean_and_var"):
            layer.fused = False
            layer._calculate_mean_and_var = mean_and_variance
