"""Predictions of an exported model for patch folders of BigEarthNet v1, as CSV and as text, next to the true labels."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import NOMENCLATURES, map_to_nomenclature
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.serving.predictor import Predictor
from tfrecord_tools.listing.archive import Folder
from tfrecord_tools.source import Patch
from tfrecord_tools.sources.bigearthnet_v1 import read_patch


@dataclasses.dataclass(frozen=True)
class PatchPredictions:
    """The predictions of N patches: `probabilities` [N, K] for `class_names`, and the true labels of each patch.

    `first` are the first patches themselves.
    """

    class_names: tuple[str, ...]
    patch_ids: list[str]
    probabilities: np.ndarray
    true_labels: list[tuple[str, ...]]
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
    rows, patch_ids, true_labels = [], [], []
    kept: list[Patch] = []
    with progress_bar(len(folders), "predict", "patch") as bar:
        for start in range(0, len(folders), batch_size):
            patches = [read_patch(*pair) for pair in folders[start : start + batch_size]]
            rows.append(predictor([patch.bands for patch in patches]))
            patch_ids += [patch.patch_id for patch in patches]
            true_labels += [translate_labels(patch, predictor.class_names) for patch in patches]
            kept += patches[: num_first - len(kept)]
            bar.update(len(patches))
    return PatchPredictions(predictor.class_names, patch_ids, np.concatenate(rows), true_labels, kept)


def translate_labels(patch: Patch, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the labels of a patch in the nomenclature of a model.

    Raises:
        ValueError: The model's classes are not those of a nomenclature.
    """
    for nomenclature, names in NOMENCLATURES.items():
        if class_names == names:
            return map_to_nomenclature(patch.labels, nomenclature)
    raise ValueError(
        f"The model's {len(class_names)} classes, {class_names[0]!r} ... {class_names[-1]!r}, match none of the "
        f"nomenclatures {', '.join(NOMENCLATURES)} in their order; it was not trained on BigEarthNet."
    )


def format_csv(predictions: PatchPredictions) -> str:
    """Returns one row per patch: its name, its true labels, and the probability of each class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["patch_id", "true_labels", *predictions.class_names])
    for patch_id, row, truth in zip(predictions.patch_ids, predictions.probabilities, predictions.true_labels):
        writer.writerow([patch_id, "; ".join(truth), *(f"{p:.6f}" for p in row)])
    return text.getvalue()


def format_first(predictions: PatchPredictions, label_kind: LabelKind) -> str:
    """Returns the predicted classes of the first patches, the most probable first, and their true labels.

    Args:
        predictions: Predictions of N patches.
        label_kind: Kind of the labels that the model was trained on; it decides which classes are predicted.
    """
    lines = []
    decided = label_kind.decide(predictions.probabilities)
    for patch, row, chosen, truth in zip(
        predictions.first, predictions.probabilities, decided, predictions.true_labels
    ):
        named = [(name, p) for name, p, is_chosen in zip(predictions.class_names, row, chosen) if is_chosen]
        ranked = sorted(named, key=lambda pair: -pair[1])
        classes = (
            "; ".join(f"{name} {p:.2f}" for name, p in ranked)
            or f"no class: none has a probability of at least {label_kind.threshold}"
        )
        lines += [patch.patch_id, f"  predicted  {classes}", f"  true       {'; '.join(truth)}"]
    return "\n".join(lines)
