"""The check that a model can score the records of a data set; it loads no TensorFlow."""

from __future__ import annotations

from typing import Protocol

from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.sharded_dataset import ShardedDataset

# Pixels mean the same only if these agree; mean and standard deviation are part of the model.
_BAND_FIELDS = ("sensor", "resolution_m", "size_px", "dtype", "unit")


class TrainedOn(Protocol):
    """What a model was trained on, as the settings of a run or the card of an export say."""

    @property
    def bands(self) -> tuple[Band, ...]:
        """Rows of the bands that the model takes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Its classes, in order."""

    @property
    def label_kind(self) -> LabelKind:
        """Kind of the labels."""


def check_fit(trained_on: TrainedOn, data: ShardedDataset) -> None:
    """Checks that a model can score the records of a data set.

    Args:
        trained_on: The data that the model was trained on.
        data: The data set to score.

    Raises:
        ValueError: Labels, classes or bands differ; the message names the difference.
    """
    folder, kind = data.folder, data.label_kind
    if kind != trained_on.label_kind:
        raise ValueError(
            f"{folder}: has {kind}-label data, the model was trained on {trained_on.label_kind}-label data."
        )
    if data.class_names != trained_on.class_names:
        difference = _describe_difference(data.class_names, trained_on.class_names)
        raise ValueError(f"{folder}: its classes are not the model's. {difference}")
    rows = {band.name: band for band in data.manifest.bands}
    for band in trained_on.bands:
        (stored,) = get_bands([band.name], rows)
        for field in _BAND_FIELDS:
            here, there = getattr(stored, field), getattr(band, field)
            if here != there:
                raise ValueError(f"{folder}: band {band.name} has {field} {here!r}, the model takes {there!r}.")


def _describe_difference(stored: tuple[str, ...], trained: tuple[str, ...]) -> str:
    missing = [name for name in trained if name not in stored]
    unknown = [name for name in stored if name not in trained]
    if missing or unknown:
        return f"Only the model has {missing or 'none'}, only the data have {unknown or 'none'}."
    pairs = enumerate(zip(trained, stored))
    index, there, here = next((index, there, here) for index, (there, here) in pairs if there != here)
    return f"Their order differs: class {index} is {there!r} to the model, {here!r} in the data."
