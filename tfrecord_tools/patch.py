"""What is a patch, and what is said when one is broken?"""

from __future__ import annotations

import dataclasses
import os

import numpy as np


@dataclasses.dataclass(frozen=True)
class Patch:
    """One image as its source holds it.

    `bands` maps a band name to a native array [size_px, size_px] in storage type and unit. `labels` are class names of
    the source's own nomenclature.
    """

    patch_id: str
    bands: dict[str, np.ndarray]
    labels: tuple[str, ...]


class PatchError(ValueError):
    """A file of a patch is missing or broken: says which file, what is wrong, what was expected, and the mend."""

    def __init__(self, path: str | os.PathLike, problem: str, expected: str, mend: str | None = None) -> None:
        self.path, self.problem, self.expected = os.fspath(path), problem, expected
        mend = mend or "Extract this patch from the archive again, or take it off the split lists."
        self.mend = mend
        super().__init__(self.path, problem, expected, mend)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; expected {self.expected}. {self.mend}"
