"""The files of an exported model, read without TensorFlow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

import numpy as np

CARD_NAME = "model_card.json"
_GRAPH_NAME = "saved_model.pb"


def read_card(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns the model card of an export, as `make_card` made it.

    Raises:
        FileNotFoundError: The folder has no SavedModel, or no model card.
    """
    card = Path(folder) / CARD_NAME
    if not (Path(folder) / _GRAPH_NAME).exists():
        raise FileNotFoundError(f"{folder}: no SavedModel here. `python -m experiments.export` writes one.")
    if not card.exists():
        raise FileNotFoundError(f"{card}: missing; it belongs to the model. `python -m experiments.export` writes it.")
    return json.loads(card.read_text(encoding="utf-8"))


def read_thresholds(card: dict[str, Any]) -> Optional[np.ndarray]:
    """Returns the threshold of each class, float32 [K] in class order; None if the most probable class is predicted."""
    if card["threshold"] is None:
        return None
    named = card.get("thresholds", {})
    return np.array([named.get(name, card["threshold"]) for name in card["class_names"]], np.float32)


def check_export_folder(folder: str | os.PathLike) -> None:
    """Checks that an export may be written to a folder: it does not exist, or contains an earlier export.

    Raises:
        ValueError: It contains something else.
    """
    if Path(folder).exists() and not (Path(folder) / CARD_NAME).exists():
        raise ValueError(f"{folder}: exists and is not an export. Name another --output_dir.")
