"""What a model takes, from the card of its export or the settings of its run, without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import find_level
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runs.record import RunSettings
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.serving.exported_model import read_card
from bigearth_tf.serving.units import DN_UNIT


@dataclasses.dataclass(frozen=True)
class ModelInputs:
    """The bands that a model takes, its classes, and the level of the Sentinel-2 data that it was trained on.

    `name` is that of its architecture.
    """

    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    label_kind: LabelKind
    dataset: str
    level: Optional[str]
    name: str = ""

    @property
    def dn_bands(self) -> tuple[Band, ...]:
        """The bands that are digital numbers of Sentinel-2."""
        return tuple(band for band in self.bands if band.unit == DN_UNIT)


def read_model_inputs(folder: str | os.PathLike) -> ModelInputs:
    """Returns what the model of an export takes.

    Raises:
        FileNotFoundError: The folder has no SavedModel, or no model card.
    """
    return parse_model_inputs(read_card(folder))


def parse_model_inputs(card: dict[str, Any]) -> ModelInputs:
    """Returns what the model of a card takes."""
    fields = [field.name for field in dataclasses.fields(Band)]
    dataset = card["dataset"]
    return ModelInputs(
        name=card["model"],
        bands=tuple(Band(**{name: row[name] for name in fields}) for row in card["inputs"].values()),
        class_names=tuple(card["class_names"]),
        label_kind=LabelKind(dataset["label_kind"]),
        dataset=dataset["name"],
        level=card.get("sentinel2", {}).get("level") or find_level(dataset["name"]),
    )


def describe_run_inputs(run: RunSettings) -> ModelInputs:
    """Returns what the model of a run takes and returns."""
    trained_on = run.dataset
    return ModelInputs(
        bands=trained_on.bands,
        class_names=trained_on.class_names,
        label_kind=trained_on.label_kind,
        dataset=trained_on.name,
        level=find_level(trained_on.name),
    )


def check_threshold(threshold: float | None, label_kind: LabelKind) -> None:
    """Checks a threshold that a user has named.

    Raises:
        ValueError: It is not a probability, or the model predicts the most probable class.
    """
    if threshold is None:
        return
    if label_kind is LabelKind.SINGLE:
        raise ValueError("--threshold: this model predicts the most probable class, without a threshold. Leave it out.")
    if not 0 < threshold <= 1:
        raise ValueError(f"--threshold={threshold}: expected a probability above 0 and at most 1.")


def hash_export(folder: str | os.PathLike) -> str:
    """Returns a SHA-256 of all files of an export but the texts for people: two models have different ones."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix != ".md":
            digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()
