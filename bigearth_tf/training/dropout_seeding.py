"""Random numbers of dropout as a function of seed, step, rank and layer, so that a resumed run draws the same.

Keras gives each layer that draws random numbers a `tf.random.Generator` of its own, if
`keras.backend.experimental.enable_tf_random_generator()` was called before the model is built. The state of a
generator, a key and a counter, is not in a checkpoint, and does not need to be: it is set at the start of each step.
With XLA, the same state gives other numbers than without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# More than a model has layers or a run has ranks. Draws within a step count in the other half of the counter.
_MAX_LAYERS = _MAX_RANKS = 2**20


def seed_dropout(model: keras.Model, seed: int) -> list[tf.random.Generator]:
    """Returns the generators of all layers that draw random numbers, nested layers included, each with its own key.

    Pass them to `reset` at the start of each step. Layers are numbered in the order of the model, not by their names.

    Args:
        model: A built model.
        seed: At most 43 bits.

    Raises:
        ValueError: The model was built without generators, so its layers draw from a state that cannot be set.
    """
    # `submodules` includes layers that `layers` lacks, such as the dropout of MultiHeadAttention.
    layers = [part for part in model.submodules if isinstance(part, keras.__internal__.layers.BaseRandomLayer)]
    layers = [layer for layer in layers if getattr(layer, "rate", None) != 0]
    assert len(layers) < _MAX_LAYERS
    generators = []
    for number, layer in enumerate(layers):
        generator = layer._random_generator._generator  # There is no public attribute.
        if generator is None:
            raise ValueError(
                f"Layer {layer.name} has no random generator. Call "
                "keras.backend.experimental.enable_tf_random_generator() before the model is built."
            )
        generator.reset_from_key_counter(seed * _MAX_LAYERS + number, [0, 0])
        generators.append(generator)
    return generators


def reset(generators: Sequence[tf.random.Generator], step: Any, rank: int) -> None:
    """Sets the generators to their state for a step and a rank; works in a `tf.function`, with and without XLA.

    Args:
        generators: As returned by `seed_dropout`.
        step: Number of the step, int64, such as the optimizer's iterations before its update.
        rank: This rank.
    """
    assert 0 <= rank < _MAX_RANKS
    counter = tf.stack([tf.constant(0, tf.int64), tf.cast(step, tf.int64) * _MAX_RANKS + rank])
    for generator in generators:
        generator.reset_from_key_counter(generator.key, counter)
