"""Exponential moving average of a model's weights, which is evaluated in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf


class WeightAverage(tf.Module):
    """The average of weights over about the latest 1 / (1 - decay) steps; it can be part of a checkpoint.

    After n updates, a step keeps min(decay, (1 + n) / (10 + n)) of the average, as in
    https://www.tensorflow.org/versions/r2.15/api_docs/python/tf/train/ExponentialMovingAverage: the initial weights
    are forgotten within tens of steps.
    """

    def __init__(self, weights: Sequence[tf.Variable], decay: float) -> None:
        """Starts from the current values.

        Args:
            weights: Float variables to average: `model.variables`, all of them, because batch statistics belong to
                the weights with which they were computed.
            decay: Share of the average that a step keeps after many updates, 0 ... 1.
        """
        super().__init__()
        self._weights = list(weights)
        self._decay = decay
        self.num_updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.averages = [tf.Variable(tf.convert_to_tensor(weight), trainable=False) for weight in weights]

    @property
    def variables(self) -> list[tf.Variable]:
        """All variables that an update changes: the number of updates and the averages."""
        return [self.num_updates, *self.averages]

    def update(self) -> None:
        """Moves the averages towards the weights. Call it once after each step, inside or outside its `tf.function`."""
        passed = tf.cast(self.num_updates, tf.float32)
        kept = tf.minimum(self._decay, (1.0 + passed) / (10.0 + passed))
        for average, weight in zip(self.averages, self._weights):
            average.assign_sub(tf.cast(1.0 - kept, average.dtype) * (average - weight))
        self.num_updates.assign_add(1)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Sets the weights to their averages inside the context; then restores them exactly, after an error too.

        A checkpoint of the model that is saved inside has the averages as its weights. Do not call `update` inside.
        """
        held = [tf.identity(weight) for weight in self._weights]
        try:
            for average, weight in zip(self.averages, self._weights):
                weight.assign(average)
            yield
        finally:
            for value, weight in zip(held, self._weights):
                weight.assign(value)
