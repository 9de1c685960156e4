"""Exported models without training whose answers are known: the probability of class k depends on band k alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.serving.decisions import Decisions
from bigearth_tf.serving.export import save_model
from bigearth_tf.serving.exported_model import CARD_NAME

MIDDLE, STEP = 1000.0, 500.0


class _MeansModel:
    """A model whose logit k is (mean of band k - MIDDLE) / STEP."""

    def __init__(self, bands: Sequence[Band]) -> None:
        self._names = [band.name for band in bands]
        self.variables = [tf.Variable(MIDDLE)]

    def __call__(self, bands: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        del training
        means = [tf.reduce_mean(tf.cast(bands[name], tf.float32), axis=(1, 2)) for name in self._names]
        return (tf.stack(means, axis=1) - self.variables[0]) / STEP


def write_means_model(
    folder: Path,
    bands: Sequence[Band],
    class_names: Sequence[str],
    dataset: str = "bigearthnet_v1",
    label_kind: LabelKind = LabelKind.MULTI,
) -> Path:
    """Writes an export with one class for each of the bands; returns its folder."""
    assert len(bands) == len(class_names)
    save_model(_MeansModel(bands), bands, class_names, folder, Decisions(label_kind))
    card = {
        "model": "means",
        "inputs": {band.name: dataclasses.asdict(band) for band in bands},
        "class_names": list(class_names),
        "threshold": label_kind.threshold,
        "dataset": {"name": dataset, "label_kind": label_kind},
    }
    (folder / CARD_NAME).write_text(json.dumps(card))
    return folder


def expected_probability(mean: float) -> float:
    """Returns the probability of a class of a multi-label model, from the mean of its band."""
    return float(1 / (1 + np.exp(-(mean - MIDDLE) / STEP)))
