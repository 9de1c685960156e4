"""Predictions with an exported model, from raw bands; it needs only the folder of the export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.serving.exported_model import read_card, read_thresholds


class Predictor:
    """An exported SavedModel.

    `folder` is that of the export. `inputs` maps each band that it takes to (size_px, dtype); `class_names` are in the
    order of the probabilities; `label_kind` is that of the labels it was trained on. `thresholds` are those of the
    classes, float32 [K]; None if the most probable class is predicted.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        """Loads the model.

        Raises:
            FileNotFoundError: The folder has no SavedModel, or no model card.
        """
        self.folder = Path(folder)
        card = read_card(folder)
        self.label_kind = LabelKind(card["dataset"]["label_kind"])
        self._model = tf.saved_model.load(os.fspath(folder))  # Keeps the variables of the signature alive.
        self._signature = self._model.signatures["serving_default"]
        specs = self._signature.structured_input_signature[1]
        self.inputs: dict[str, tuple[int, str]] = {
            name: (spec.shape[1], spec.dtype.name) for name, spec in sorted(specs.items())
        }
        zeros = {name: np.zeros((1, size_px, size_px), dtype) for name, (size_px, dtype) in self.inputs.items()}
        names = self._signature(**_tensors(zeros))["class_names"].numpy()
        self.class_names: tuple[str, ...] = tuple(name.decode() for name in names)
        self.thresholds = read_thresholds(card)

    def __call__(self, patches: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Returns the probabilities of N patches, float32 [N, K]; N may be 0.

        Args:
            patches: Band name -> [size_px, size_px] as stored; bands that the model does not take are ignored.

        Raises:
            ValueError: A patch lacks a band that the model takes, or has it in another size or type.
        """
        for patch in patches:
            self.check_patch(patch)
        if not patches:
            return np.zeros((0, len(self.class_names)), np.float32)
        return self.predict_batch({name: np.stack([patch[name] for patch in patches]) for name in self.inputs})

    def check_patch(self, patch: Mapping[str, np.ndarray]) -> None:
        """Checks that a patch has every band that the model takes.

        Raises:
            ValueError: It lacks a band, or has it in another size or type.
        """
        for name, (size_px, dtype) in self.inputs.items():
            found = f"{patch[name].dtype} {list(patch[name].shape)}" if name in patch else "missing"
            if found != f"{dtype} [{size_px}, {size_px}]":
                raise ValueError(
                    f"The model takes band {name} as {dtype} [{size_px}, {size_px}]; in this patch it is {found}."
                )

    def predict_batch(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the probabilities of a batch that is known to fit the model, float32 [N, K].

        Args:
            batch: Exactly the bands of `inputs`: band name -> [N, size_px, size_px] in the type of the band.
        """
        return self._signature(**_tensors(batch))["probabilities"].numpy()

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns the predicted classes, bool [N, K]: at least their threshold, or the most probable one."""
        return self.label_kind.decide(probabilities, THRESHOLD if self.thresholds is None else self.thresholds)


def _tensors(batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(pixels) for name, pixels in batch.items()}
