"""What does dropout drop? A pure function of seed, step, rank and layer: a run that starts again drops the same.

Keras gives each layer that draws a `tf.random.Generator` of its own, once told to before the model is built
(`keras.backend.experimental.enable_tf_random_generator()`). Its state, a key and a counter, is no part of a checkpoint;
set at the beginning of each step, it need not be. XLA makes other numbers of the same state than TensorFlow without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# More than a model has layers, and than a run has ranks. Within a step a layer counts in the other half of a counter.
_MAX_LAYERS = _MAX_RANKS = 2**20


def seed_dropout(model: keras.Model, seed: int) -> list[tf.random.Generator]:
    """Returns the generators of all layers that draw, also those inside other layers, each with a key of its own.

    Give them to `reset` at the beginning of each step. Layers count in the order of the model, whatever their names.

    Args:
        model: A built model.
        seed: At most 43 bits.

    Raises:
        ValueError: The model was built without generators, so its layers draw from a state that nothing can set.
    """
    # `submodules` also enters what is in no model's list of layers, such as the dropout of MultiHeadAttention.
    layers = [part for part in model.submodules if isinstance(part, keras.__internal__.layers.BaseRandomLayer)]
    layers = [layer for layer in layers if getattr(layer, "rate", None) != 0]
    assert len(layers) < _MAX_LAYERS
    generators = []
    for number, layer in enumerate(layers):
        generator = layer._random_generator._generator  # There is no public way to it.
        if generator is None:
            raise ValueError(
                f"Layer {layer.name} has no random generator. Call "
                "keras.backend.experimental.enable_tf_random_generator() before the model is built."
            )
        generator.reset_from_key_counter(seed * _MAX_LAYERS + number, [0, 0])
        generators.append(generator)
    return generators


def reset(generators: Sequence[tf.random.Generator], step: Any, rank: int) -> None:
    """Sets what the layers draw next to that of a step and a rank; in a `tf.function`, compiled by XLA or not.

    Args:
        generators: Those of `seed_dropout`.
        step: Number of the step, int64, such as the optimiser's iterations before its update.
        rank: This rank.
    """
    assert 0 <= rank < _MAX_RANKS
    counter = tf.stack([tf.constant(0, tf.int64), tf.cast(step, tf.int64) * _MAX_RANKS + rank])
    for generator in generators:
        generator.reset_from_key_counter(generator.key, counter)
