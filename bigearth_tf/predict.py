"""What does an exported model say of raw bands? It alone is asked: bands and class names are its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from bigearth_tf.bands import Band, get_bands


class Predictor:
    """An exported SavedModel. `bands` are what it takes, in alphabetical order; `class_names` what it answers."""

    def __init__(self, folder: str | os.PathLike) -> None:
        """Loads the model.

        Raises:
            FileNotFoundError: The folder holds no SavedModel.
            ValueError: Its signature is not that of `bigearth_tf.export`.
        """
        folder = os.fspath(folder)
        if not tf.saved_model.contains_saved_model(folder):
            raise FileNotFoundError(f"{folder}: no SavedModel here. `python -m experiments.export` writes one.")
        self._model = tf.saved_model.load(folder)  # It owns the variables that the signature uses.
        self._signature = self._model.signatures["serving_default"]
        inputs = self._signature.structured_input_signature[1]
        self.bands: tuple[Band, ...] = get_bands(sorted(inputs))
        for band in self.bands:
            spec = inputs[band.name]
            if spec.shape.as_list()[1:] != [band.size_px] * 2 or spec.dtype.name != band.dtype:
                raise ValueError(f"{folder}: takes band {band.name} as {spec}, not as stored.")
        nothing = {band.name: np.zeros((1, band.size_px, band.size_px), band.dtype) for band in self.bands}
        names = self._signature(**_tensors(nothing))["class_names"].numpy()
        self.class_names: tuple[str, ...] = tuple(name.decode() for name in names)

    def __call__(self, patches: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Returns probabilities float32 [N, K] of N patches, each band name -> [size_px, size_px] as stored.

        Raises:
            ValueError: A patch lacks a band that the model takes.
        """
        for patch in patches:
            missing = [band.name for band in self.bands if band.name not in patch]
            if missing:
                raise ValueError(f"The model takes band {', '.join(missing)}, the patch has {', '.join(patch)}.")
        batch = {band.name: np.stack([patch[band.name] for patch in patches]) for band in self.bands}
        return self._signature(**_tensors(batch))["probabilities"].numpy()


def _tensors(batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(pixels) for name, pixels in batch.items()}
