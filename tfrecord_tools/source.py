"""The types of a data source: a patch, the inputs that a user names, and the source itself.

Of listing/, this module imports only what a place of a patch is, and how other data are recognized; the modules of
sources/ build on both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind
from tfrecord_tools.listing.archive import PACK_AGAIN, UnreadableMemberError, is_missing
from tfrecord_tools.listing.known_layouts import recognize_data
from tfrecord_tools.listing.patch_ref import PatchRef

MISSING = "the file is missing"
_RESTORE = "Extract this patch from the archive again."
_PERMIT = "Give yourself the permission to read it (chmod u+r; u+rx for a folder), and run the same command."
# These concern this process or the whole system, not one patch.
_OF_ALL_PATCHES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_CHECK_DISK = "Check the disk, or the connection to it, and run the same command."


@dataclasses.dataclass(frozen=True)
class Patch:
    """One image as its source stores it.

    `bands` maps a band name to a native array [size_px, size_px] in storage type and unit. `labels` are class names.
    `attributes` are other texts, such as the country.
    """

    patch_id: str
    bands: dict[str, np.ndarray]
    labels: tuple[str, ...]
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)


class PatchError(ValueError):
    """A file of a patch is missing or broken: which file, what is wrong, what was expected, and how to fix it."""

    def __init__(self, file: object, problem: str, expected: str, fix: str = _RESTORE) -> None:
        # Names that are not UTF-8 could not be written into the list of problems.
        self.file = os.fsencode(str(file)).decode("utf-8", "backslashreplace")
        self.problem, self.expected, self.fix = problem, expected, fix
        super().__init__(self.file, problem, expected, fix)

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}; expected {self.expected}. {self.fix}"


@contextlib.contextmanager
def os_errors_as_problems(file: object, expected: str) -> Iterator[None]:
    """Raises an OSError as a PatchError with its reason: one patch that cannot be read does not stop the others.

    Args:
        file: File or folder that is read.
        expected: What was expected there.

    Raises:
        PatchError: The block has raised an OSError.
        OSError: This process has no more memory or files.
    """
    try:
        yield
    except UnreadableMemberError as error:
        raise PatchError(file, str(error), expected, PACK_AGAIN) from error
    except OSError as error:
        if error.errno in _OF_ALL_PATCHES:
            raise
        if is_missing(error):
            raise PatchError(file, MISSING, expected) from error
        fix = _PERMIT if error.errno in (errno.EACCES, errno.EPERM) else _CHECK_DISK
        raise PatchError(file, f"cannot be read ({error.strerror or error})", expected, fix) from error


class ReadPatch(Protocol):
    """The function of a source that reads a patch; it can be sent to another process."""

    def __call__(self, ref: PatchRef, *, gdal_only: bool = False) -> Patch:
        """Returns the patch; its labels are class names of the source.

        Args:
            ref: One of `Source.refs`.
            gdal_only: Read every GeoTIFF with GDAL, and not with the faster reader of plain files. A check of converted
                records needs this, so that it does not repeat a mistake of that reader.

        Raises:
            PatchError: A file is missing or broken.
        """


@dataclasses.dataclass(frozen=True)
class SourceInputs:
    """The inputs of a source, as flags of a command name them; each module of sources/ takes some of them.

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

    `roots` are the folders or files that must exist while patches are read. `origin` is the text that the manifest
    gives as the source. `exclusions` counts the patches that are left out, by reason. `attributes` are the names of
    the attributes that patches may have. `options` decide what is read; the manifest stores them.
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
    """Returns the reasons for which patches of BigEarthNet are to be left out: by default all.

    Raises:
        ValueError: A reason is unknown, or the inputs name no patches.
    """
    if not inputs.s2 and not inputs.s1:
        raise ValueError("Name the patches with --s2, --s1, or both: folders or uncompressed tars.")
    exclude = reasons if inputs.exclude is None else inputs.exclude
    unknown = sorted(set(exclude) - set(reasons))
    if unknown:
        raise ValueError(f"--exclude={','.join(unknown)}: unknown; allowed are {', '.join(reasons)}.")
    return exclude


def require_inputs(inputs: SourceInputs, source: str, needed: tuple[str, ...], allowed: tuple[str, ...] = ()) -> None:
    """Checks that the inputs are those that a source takes.

    Raises:
        ValueError: An input is missing, or is given that the source does not take.
    """
    given = {field.name for field in dataclasses.fields(inputs) if getattr(inputs, field.name) != field.default}
    missing = [f"--{name}" for name in needed if name not in given]
    extra = [f"--{name}" for name in sorted(given - set(needed) - set(allowed))]
    if missing or extra:
        of_others = [getattr(inputs, name) for name in ("input", "s2", "s1", "maps") if f"--{name}" in extra]
        known = [f" {root}:{text}" for root in of_others if (text := recognize_data(root, "", ""))]
        raise ValueError(
            f"--source={source} takes {', '.join('--' + name for name in needed + allowed)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; not taken: {', '.join(extra)}" if extra else "")
            + "."
            + "".join(known)
        )
