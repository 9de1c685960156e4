"""What does an exported model say of raw bands? It alone is asked: bands, classes and kind of labels are its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.serving.model_card import CARD_NAME


class Predictor:
    """An exported SavedModel: `inputs` maps the bands that it takes to (size_px, dtype); it answers `class_names`.

    `label_kind` is that of the labels it was trained on.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        """Loads the model.

        Raises:
            FileNotFoundError: The folder holds no SavedModel, or it lacks its card.
        """
        folder, card = os.fspath(folder), Path(folder) / CARD_NAME
        if not tf.saved_model.contains_saved_model(folder):
            raise FileNotFoundError(f"{folder}: no SavedModel here. `python -m experiments.export` writes one.")
        if not card.exists():
            raise FileNotFoundError(
                f"{card}: missing; it belongs to the model. `python -m experiments.export` writes it."
            )
        self.label_kind = LabelKind(json.loads(card.read_text(encoding="utf-8"))["dataset"]["label_kind"])
        self._model = tf.saved_model.load(folder)  # It owns the variables that the signature uses.
        self._signature = self._model.signatures["serving_default"]
        specs = self._signature.structured_input_signature[1]
        self.inputs: dict[str, tuple[int, str]] = {
            name: (spec.shape[1], spec.dtype.name) for name, spec in sorted(specs.items())
        }
        nothing = {name: np.zeros((1, size_px, size_px), dtype) for name, (size_px, dtype) in self.inputs.items()}
        names = self._signature(**_tensors(nothing))["class_names"].numpy()
        self.class_names: tuple[str, ...] = tuple(name.decode() for name in names)

    def __call__(self, patches: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Returns probabilities float32 [N, K] of N patches, each band name -> [size_px, size_px] as stored.

        Raises:
            ValueError: A patch lacks a band that the model takes, or has it in another size or type.
        """
        for patch in patches:
            for name, (size_px, dtype) in self.inputs.items():
                found = f"{patch[name].dtype} {list(patch[name].shape)}" if name in patch else "missing"
                if found != f"{dtype} [{size_px}, {size_px}]":
                    raise ValueError(
                        f"The model takes band {name} as {dtype} [{size_px}, {size_px}]; of this patch it is {found}."
                    )
        batch = {name: np.stack([patch[name] for patch in patches]) for name in self.inputs}
        return self._signature(**_tensors(batch))["probabilities"].numpy()

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns the classes that probabilities [N, K] say, bool [N, K]: those from 0.5 on, or the likeliest one."""
        return self.label_kind.decide(probabilities)


def _tensors(batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(pixels) for name, pixels in batch.items()}
