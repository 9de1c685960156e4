"""Types of a data source: a patch, where it lies, what a user says of the source, and the source itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind
from tfrecord_tools.listing.archive import File, Folder

RESTORE = "Extract this patch from the archive again, or take it off the split lists."


@dataclasses.dataclass(frozen=True)
class Patch:
    """One image as its source holds it.

    `bands` maps a band name to a native array [size_px, size_px] in storage type and unit. `labels` are class names.
    `attributes` are further texts, such as the country.
    """

    patch_id: str
    bands: dict[str, np.ndarray]
    labels: tuple[str, ...]
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)


class PatchError(ValueError):
    """A file of a patch is missing or broken: says which file, what is wrong, what was expected, and the mend."""

    def __init__(self, file: object, problem: str, expected: str, mend: str = RESTORE) -> None:
        self.file, self.problem, self.expected, self.mend = str(file), problem, expected, mend
        super().__init__(self.file, problem, expected, mend)

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}; expected {self.expected}. {self.mend}"


class PatchRef(NamedTuple):
    """Where one patch lies, and what lists say of it: its id, split, folders or files, labels, and attributes."""

    patch_id: str
    split: str
    parts: tuple[Folder | File, ...]
    labels: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class SourceInputs:
    """What a user says of a source; each module's `open_source` says which it takes.

    `s2`, `s1`, `maps` and `input` are folders or uncompressed tars.
    """

    s2: str | None = None
    s1: str | None = None
    maps: str | None = None
    input: str | None = None
    lists_dir: str | None = None
    metadata: str | None = None
    nomenclature: str | None = None
    label_kind: str | None = None
    exclude: tuple[str, ...] | None = None
    partial_archive: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """Patches to convert. `read` gives a patch whose labels are among `class_names`; it can be sent to a process.

    `roots` must stay there while patches are read. `exclusions` counts what was left out, by reason. `options` are
    those that decide what is read.
    """

    spec: DatasetSpec
    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    label_kind: LabelKind
    refs: list[PatchRef]
    read: Callable[[PatchRef], Patch]
    roots: tuple[str, ...]
    origin: str
    exclusions: dict[str, int] = dataclasses.field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    options: dict[str, object] = dataclasses.field(default_factory=dict)


def require_inputs(inputs: SourceInputs, source: str, needed: tuple[str, ...], allowed: tuple[str, ...] = ()) -> None:
    """Checks that a user gave what a source takes.

    Raises:
        ValueError: An input is missing, or is given but not taken.
    """
    given = {field.name for field in dataclasses.fields(inputs) if getattr(inputs, field.name) != field.default}
    missing = [f"--{name}" for name in needed if name not in given]
    extra = [f"--{name}" for name in sorted(given - set(needed) - set(allowed))]
    if missing or extra:
        raise ValueError(
            f"--source={source} takes {', '.join('--' + name for name in needed + allowed)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; not taken: {', '.join(extra)}" if extra else "")
            + "."
        )
