"""Which data sets are known? One module each, with a `SPEC`, found by `get_dataset(name)`."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What is fixed about a data set.

    `bands` are all rows that it may hold, `nomenclatures` its class names in order by the name of the nomenclature,
    `label_kinds` those that its labels may have, `source` and `licence` what a user must cite and keep to.
    """

    name: str
    bands: tuple[Band, ...]
    nomenclatures: dict[str, tuple[str, ...]]
    label_kinds: tuple[LabelKind, ...]
    splits: tuple[str, ...]
    source: str
    licence: str


def list_datasets() -> tuple[str, ...]:
    """Returns the names of all data sets."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_dataset(name: str) -> DatasetSpec:
    """Returns the spec of a data set.

    Raises:
        ValueError: There is no data set of that name.
    """
    if name not in list_datasets():
        raise ValueError(f"Unknown data set {name!r}; allowed: {', '.join(list_datasets())}.")
    return importlib.import_module(f"{__name__}.{name}").SPEC
