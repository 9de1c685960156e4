"""The first patches of a prediction, with their rows of the table, for printing and for the picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from bigearth_tf.serving.patch_inputs import InputPatch, PatchInputs
from bigearth_tf.serving.prediction_folder import PredictionResult


class FirstPatch(NamedTuple):
    """A patch with its pixels, and its row of the table as column -> value."""

    patch: InputPatch
    row: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class FirstPatches:
    """The first of `num_patches` patches.

    `thresholds` maps a class to the probability from which it is predicted, None if the most probable class is
    predicted. `level` is the processing level of Sentinel-2, None if it is not known.
    """

    patches: list[FirstPatch]
    class_names: tuple[str, ...]
    num_patches: int
    thresholds: Optional[Mapping[str, float]] = None
    level: Optional[str] = None


def read_first_patches(inputs: PatchInputs, result: PredictionResult, count: int) -> list[FirstPatch]:
    """Returns the first patches that were predicted; their pixels are read again."""
    rows = list(itertools.islice(result.parts.read_rows(), count))
    found: list[FirstPatch] = []
    for item in inputs.read() if rows else ():
        if isinstance(item, InputPatch) and item.patch_id == rows[len(found)]["patch_id"]:
            found.append(FirstPatch(item, rows[len(found)]))
            if len(found) == len(rows):
                break
    return found


def format_first_patches(first: FirstPatches) -> str:
    """Returns the predicted classes of each patch, the most probable first, and its true labels if they are known."""
    lines = []
    for patch, row in first.patches:
        chosen = {name: row[f"probability/{name}"] for name in first.class_names if row[f"decision/{name}"]}
        ranked = sorted(chosen.items(), key=lambda item: -item[1])
        top = row["top_class"]
        classes = "; ".join(f"{name} {p:.2f}" for name, p in ranked)
        classes = classes or f"no class: the most probable is {top} {row[f'probability/{top}']:.2f}"
        lines += [patch.patch_id, f"  predicted  {classes}"]
        if row["true_labels"] is not None:
            lines.append(f"  true       {row['true_labels'] or 'no label'}")
    return "\n".join(lines)
