"""Which weights are evaluated, the latest or their average? The exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf


class WeightAverage(tf.Module):
    """An average of weights over about the latest 1 / (1 - decay) steps; it can be part of a checkpoint.

    A step keeps min(decay, (1 + n) / (10 + n)) of the average after n updates, as
    https://www.tensorflow.org/versions/r2.15/api_docs/python/tf/train/ExponentialMovingAverage says: the first weights
    are forgotten within some tens of steps.
    """

    def __init__(self, weights: Sequence[tf.Variable], decay: float) -> None:
        """Starts from the present values.

        Args:
            weights: Variables to average, of floats. All those of a model, `model.variables`: batch statistics belong
                to the weights that they were gathered under.
            decay: Share of the average that a step keeps in the long run, 0 ... 1.
        """
        super().__init__()
        self._weights = list(weights)
        self._decay = decay
        self.num_updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.averages = [tf.Variable(tf.convert_to_tensor(weight), trainable=False) for weight in weights]

    @property
    def variables(self) -> list[tf.Variable]:
        """What moves in it, for those who compare ranks or send it to them: the averages and the number of updates."""
        return [self.num_updates, *self.averages]

    def update(self) -> None:
        """Moves the averages towards the weights; called once a step, after them, inside its function or not."""
        passed = tf.cast(self.num_updates, tf.float32)
        kept = tf.minimum(self._decay, (1.0 + passed) / (10.0 + passed))
        for average, weight in zip(self.averages, self._weights):
            average.assign_sub(tf.cast(1.0 - kept, average.dtype) * (average - weight))
        self.num_updates.assign_add(1)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """While it is open, the weights hold their averages; then, whatever happened, what they held, to the last bit.

        What saves the model inside saves the averages as its weights. Do not `update` inside.
        """
        held = [tf.identity(weight) for weight in self._weights]
        try:
            for average, weight in zip(self.averages, self._weights):
                weight.assign(average)
            yield
        finally:
            for value, weight in zip(held, self._weights):
                weight.assign(value)
