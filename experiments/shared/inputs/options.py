"""What a user says about inputs, what is opened, and the checks that all kinds share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.labels import CLASSES_19, CLASSES_43, to_19_classes
from bigearth_tf.serving.model_inputs import ModelInputs
from bigearth_tf.serving.patch_inputs import PatchInputs

# Pixels mean the same only if these agree.
_BAND_FIELDS = ("sensor", "size_px", "dtype", "unit")
# Attribute with the labels of a source whose classes are not those of the model.
OTHER_LABELS = "labels_of_source"


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """The flags of `experiments.predict` that describe its inputs; None or empty where a user says nothing."""

    source: Optional[str] = None
    s2: Optional[str] = None
    s1: Optional[str] = None
    metadata: Optional[str] = None
    lists_dir: Optional[str] = None
    label_kind: Optional[str] = None
    split: Optional[str] = None
    band_order: tuple[str, ...] = ()
    level: Optional[str] = None
    dn_offset: Optional[int] = None
    no_data: Optional[float] = None


class OpenedInputs(NamedTuple):
    """Inputs that can be predicted, and lines that say what they were taken for and what is converted."""

    inputs: PatchInputs
    lines: tuple[str, ...]


def refuse_options(options: InputOptions, what: str, names: Iterable[str]) -> None:
    """Checks that options which a kind of input does not take are not given.

    Raises:
        ValueError: One is given.
    """
    given = [f"--{name}" for name in names if getattr(options, name) not in (None, ())]
    if given:
        raise ValueError(f"{what} take no {', '.join(given)}. Leave the flag out.")


def check_bands(model: ModelInputs, bands: Sequence[Band], what: str) -> None:
    """Checks that stored bands are those that a model takes.

    Raises:
        ValueError: A band is missing, or has another sensor, size, type or unit.
    """
    rows = {band.name: band for band in bands}
    for band in model.bands:
        if band.name not in rows:
            raise ValueError(
                f"The model takes band {band.name}; {what} have {', '.join(rows)}. Use a model that takes these bands."
            )
        for field in _BAND_FIELDS:
            here, there = getattr(rows[band.name], field), getattr(band, field)
            if here != there:
                raise ValueError(
                    f"The model takes band {band.name} with {field} {there!r}; in {what} it is {here!r}. Use a model "
                    "that was trained on such patches."
                )


class LabelTranslation:
    """The translation of the labels of a source to the classes of a model.

    `line` says what is done if it is not obvious. `attributes` are names of attributes that the translation adds.
    """

    def __init__(self, source_classes: Sequence[str], model_classes: Sequence[str]) -> None:
        """Takes the class names of both."""
        self._to_19 = tuple(source_classes) == CLASSES_43 and tuple(model_classes) == CLASSES_19
        self._is_same = set(source_classes) <= set(model_classes)
        self.attributes: tuple[str, ...] = () if self._to_19 or self._is_same else (OTHER_LABELS,)
        self.line = (
            f"The labels are not of the model's classes ({source_classes[0]} ...): column {OTHER_LABELS} has them."
            if self.attributes
            else ""
        )

    def translate(self, labels: tuple[str, ...] | None) -> tuple[tuple[str, ...] | None, dict[str, str]]:
        """Returns labels in the classes of the model, None if not known, and the attribute that has the others."""
        if labels is None:
            return None, {}
        if self._to_19:
            return to_19_classes(labels), {}
        return (labels, {}) if self._is_same else (None, {OTHER_LABELS: "; ".join(labels)})


def share_without_data(bands: Mapping[str, np.ndarray], model: ModelInputs) -> float:
    """Returns the share of pixels that are 0 in every band of Sentinel-2 that a model takes, at most."""
    return min((float(np.mean(bands[band.name] == 0)) for band in model.dn_bands if band.name in bands), default=0.0)
