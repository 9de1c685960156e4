"""Predictions of an exported model for patch folders of BigEarthNet v1, next to the true labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bigearth_tf.data.labels import map_to_nomenclature
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from bigearth_tf.runtime.progress import progress_bar
from experiments.shared.prediction_inputs import find_nomenclature
from tfrecord_tools.listing.archive import Folder
from tfrecord_tools.source import Patch
from tfrecord_tools.sources.bigearthnet_v1 import read_patch

if TYPE_CHECKING:
    from bigearth_tf.serving.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class PatchPredictions:
    """The predictions of N patches, and the first patches themselves."""

    predictions: NamedPredictions
    first: list[Patch]


def predict_patches(
    predictor: Predictor, folders: Sequence[tuple[Folder, ...]], batch_size: int, num_first: int
) -> PatchPredictions:
    """Returns the predictions of a model for patches, in their order.

    Args:
        predictor: An exported model.
        folders: Folders of the patches, from `find_patches`.
        batch_size: Number of patches that are read and predicted at a time.
        num_first: Number of patches to keep in `first`.

    Raises:
        ValueError: The model takes bands that a patch lacks, or its classes are not those of a nomenclature.
    """
    nomenclature = find_nomenclature(predictor.class_names)
    rows, labels, patch_ids, attributes = [], [], [], []
    kept: list[Patch] = []
    with progress_bar(len(folders), "predict", "patch") as bar:
        for start in range(0, len(folders), batch_size):
            patches = [read_patch(*pair) for pair in folders[start : start + batch_size]]
            rows.append(predictor([patch.bands for patch in patches]))
            patch_ids += [patch.patch_id for patch in patches]
            truths = [map_to_nomenclature(patch.labels, nomenclature) for patch in patches]
            labels.append(np.array([[name in truth for name in predictor.class_names] for truth in truths]))
            attributes += [patch.attributes for patch in patches]
            kept += patches[: num_first - len(kept)]
            bar.update(len(patches))
    names = dict.fromkeys(name for found in attributes for name in found)
    texts = {name: np.array([found.get(name, "") for found in attributes]) for name in names}
    table = Predictions(np.array(patch_ids), np.concatenate(labels).astype(np.float32), np.concatenate(rows), texts)
    return PatchPredictions(NamedPredictions(table, predictor.class_names, predictor.label_kind), kept)


def format_first(found: PatchPredictions) -> str:
    """Returns the predicted classes of the first patches, the most probable first, and their true labels."""
    lines = []
    table, names, label_kind = found.predictions.table, found.predictions.class_names, found.predictions.label_kind
    decided = label_kind.decide(table.probabilities)
    for patch, row, chosen, truth in zip(found.first, table.probabilities, decided, table.labels):
        named = [(name, p) for name, p, is_chosen in zip(names, row, chosen) if is_chosen]
        ranked = sorted(named, key=lambda pair: -pair[1])
        classes = "; ".join(f"{name} {p:.2f}" for name, p in ranked)
        classes = classes or f"no class: none has a probability of at least {label_kind.threshold}"
        labels = "; ".join(name for name, is_true in zip(names, truth) if is_true) or "no label"
        lines += [patch.patch_id, f"  predicted  {classes}", f"  true       {labels}"]
    return "\n".join(lines)
