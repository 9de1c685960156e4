"""Facts about each data set: one module per data set, with a `SPEC` that `get_dataset(name)` returns."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import Optional

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """The fixed facts about a data set.

    `bands` are all bands that it may have. `nomenclatures` maps the name of a nomenclature to its class names in order.
    `label_kinds` are the kinds that its labels may have. A user must cite `source` and comply with `licence`.
    `level` is the processing level of its Sentinel-2 bands: "L2A" (reflectance at the surface) or "L1C" (at the top of
    the atmosphere).
    """

    name: str
    bands: tuple[Band, ...]
    nomenclatures: dict[str, tuple[str, ...]]
    label_kinds: tuple[LabelKind, ...]
    splits: tuple[str, ...]
    source: str
    licence: str
    level: str = "L2A"


def list_datasets() -> tuple[str, ...]:
    """Returns the names of all data sets."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_dataset(name: str) -> DatasetSpec:
    """Returns the spec of a data set.

    Raises:
        ValueError: There is no data set with that name.
    """
    if name not in list_datasets():
        raise ValueError(f"Unknown data set {name!r}; allowed: {', '.join(list_datasets())}.")
    return importlib.import_module(f"{__name__}.{name}").SPEC


def find_level(name: str) -> Optional[str]:
    """Returns the processing level of a data set by name, None if the data set is not known."""
    return get_dataset(name).level if name in list_datasets() else None
