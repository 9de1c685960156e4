"""A copy of a model that has gradients: it takes bands as float32, and also returns its last maps.

The models of the zoo take integers, which have no gradients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Bands = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Path:
    """Points on a straight way: at place 0 all pixels of a band have the value in `start`, at place 1 is a patch.

    `bands` are those of the patch, [size_px, size_px]; `places` [n] are in 0 ... 1.
    """

    start: Mapping[str, float]
    bands: Mapping[str, np.ndarray]
    places: np.ndarray


class DifferentiableModel:
    """A copy of a model with inputs of float32, in the units of the bands.

    `map_sizes` are the (height, width) of its last maps, from which Grad-CAM is computed; empty if there are none.
    """

    def __init__(self, model: keras.Model) -> None:
        """Copies the model and its weights.

        Args:
            model: Functional model: {band name: [B, size_px, size_px]} -> logits [B, K].
        """
        inputs = {
            name: keras.Input(tensor.shape[1:], dtype="float32", name=name) for name, tensor in model.input.items()
        }
        copy = keras.models.clone_model(model, input_tensors=inputs)
        copy.set_weights(model.get_weights())
        maps = find_last_maps(copy)
        self._model = keras.Model(copy.input, {"logits": copy.output, "maps": maps})
        self.map_sizes: tuple[tuple[int, int], ...] = tuple((tensor.shape[1], tensor.shape[2]) for tensor in maps)
        self._map_gradients = tf.function(self._trace_map_gradients, autograph=False, reduce_retracing=True)
        self._path_gradients = tf.function(self._trace_path_gradients, autograph=False, reduce_retracing=True)

    def map_gradients(self, bands: Mapping[str, np.ndarray], class_index: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns each last map [H, W, C] of a patch, and the gradient of the logit of a class for it.

        Args:
            bands: Band name -> [size_px, size_px].
            class_index: The class.
        """
        maps, gradients = self._map_gradients(_to_float(bands), tf.constant(class_index))
        return [(activation.numpy()[0], gradient.numpy()[0]) for activation, gradient in zip(maps, gradients)]

    def path_gradients(self, path: Path, class_index: int) -> dict[str, np.ndarray]:
        """Returns the sum of the gradients of a logit at the places of a path: band name -> [size_px, size_px]."""
        sums = self._path_gradients(
            {name: tf.constant(value, tf.float32) for name, value in path.start.items()},
            _to_float(path.bands),
            tf.constant(path.places, tf.float32),
            tf.constant(class_index),
        )
        return {name: gradient.numpy() for name, gradient in sums.items()}

    def start_logits(self, path: Path) -> np.ndarray:
        """Returns the logits [K] at the start of a path."""
        start = {name: np.full((1, *pixels.shape), path.start[name]) for name, pixels in path.bands.items()}
        return self._model(_to_float(start), training=False)["logits"].numpy()[0]

    def _trace_map_gradients(self, bands: Bands, class_index: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        batch = {name: pixels[tf.newaxis] for name, pixels in bands.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)
            outputs = self._model(batch, training=False)
            logit = outputs["logits"][0, class_index]
        maps = outputs["maps"]
        return maps, tape.gradient(logit, maps, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _trace_path_gradients(
        self, starts: Bands, bands: Bands, places: tf.Tensor, class_index: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        shares = places[:, tf.newaxis, tf.newaxis]
        points = {name: starts[name] + shares * (pixels - starts[name]) for name, pixels in bands.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = self._model(points, training=False)["logits"]
            logit = tf.reduce_sum(tf.gather(logits, class_index, axis=1))
        gradients = tape.gradient(logit, points, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {name: tf.reduce_sum(gradient, axis=0) for name, gradient in gradients.items()}


def _to_float(bands: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(pixels, tf.float32) for name, pixels in bands.items()}


def find_last_maps(model: keras.Model) -> list[Any]:
    """Returns the last spatial maps [B, H, W, C] on the way to the logits; empty if the last are no maps.

    On the way back from the logits, the first tensors that are more than a vector of features decide: a CNN has a map
    there, which it pools or flattens (a network with several branches has one map each); a ViT or an MLP-Mixer has
    tokens [B, T, C], which have lost the image's rows and columns. A map that a layer without weights only makes
    smaller is replaced by the finer map before it. The image itself is not a map of the network: some layer before a
    map must have weights.

    Args:
        model: Functional model of one output. A model that is a layer of it is not searched: its output may be the map.
    """
    walk = _Walk(model)
    maps = list(walk.find_maps(model.output))
    return maps if all(walk.has_weights(tensor) for tensor in maps) else []


class _Walk:
    """The tensors of a model, and the layer and the inputs of each."""

    def __init__(self, model: keras.Model) -> None:
        self._made_by: dict[int, tuple[keras.layers.Layer, list[Any]]] = {}
        for layer in model.layers:
            for node in range(len(layer.inbound_nodes)):
                inputs = tf.nest.flatten(layer.get_input_at(node))
                for tensor in tf.nest.flatten(layer.get_output_at(node)):
                    self._made_by[id(tensor)] = (layer, [other for other in inputs if other is not tensor])

    def find_maps(self, tensor: Any) -> Iterator[Any]:
        """Yields the maps before a tensor; nothing before tokens and inputs."""
        layer, inputs = self._made_by[id(tensor)]
        made_smaller = not layer.weights and inputs and _area(inputs[0]) > _area(tensor)
        if _area(tensor) > 1 and not made_smaller:
            yield tensor
        elif tensor.shape.rank != 3:
            for other in inputs:
                yield from self.find_maps(other)

    def has_weights(self, tensor: Any) -> bool:
        """Returns whether a layer with weights computed a tensor or one before it."""
        layer, inputs = self._made_by[id(tensor)]
        return bool(layer.weights) or any(self.has_weights(other) for other in inputs)


def _area(tensor: Any) -> int:
    """Returns the number of pixels of a map [B, H, W, C]; 0 for what is not a map."""
    return tensor.shape[1] * tensor.shape[2] if tensor.shape.rank == 4 else 0
