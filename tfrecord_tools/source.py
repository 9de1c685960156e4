"""Types of a data source: a patch, where it lies, what a user says of the source, and the source itself."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind
from tfrecord_tools.listing.patch_ref import PatchRef

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


class ReadPatch(Protocol):
    """The function of a source that reads a patch; it can be sent to another process."""

    def __call__(self, ref: PatchRef, *, gdal_only: bool = False) -> Patch:
        """Returns the patch, with labels among the source's class names.

        Args:
            ref: One of the source's.
            gdal_only: Decode every GeoTIFF by GDAL, as a check of converted records must: it must not share a mistake
                with the faster reader of plain files.

        Raises:
            PatchError: A file is missing or broken.
        """


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
    """Patches to convert, and the function that reads one.

    `roots` must stay there while patches are read. `exclusions` counts what was left out, by reason. `options` are
    those that decide what is read.
    """

    spec: DatasetSpec
    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    label_kind: LabelKind
    refs: list[PatchRef]
    read: ReadPatch
    roots: tuple[str, ...]
    origin: str
    exclusions: dict[str, int] = dataclasses.field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    options: dict[str, object] = dataclasses.field(default_factory=dict)


def read_exclusions(inputs: SourceInputs, reasons: tuple[str, ...]) -> tuple[str, ...]:
    """Returns for which reasons a user wants patches left out: by default for all.

    Raises:
        ValueError: A reason is unknown, or no patches are named at all.
    """
    if not inputs.s2 and not inputs.s1:
        raise ValueError("Name the patches with --s2, --s1, or both: folders or uncompressed tars.")
    exclude = reasons if inputs.exclude is None else inputs.exclude
    unknown = sorted(set(exclude) - set(reasons))
    if unknown:
        raise ValueError(f"--exclude={','.join(unknown)}: unknown; allowed are {', '.join(reasons)}.")
    return exclude


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
