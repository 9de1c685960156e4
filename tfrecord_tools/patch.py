"""What is a patch, and what is said when one is broken?"""

from __future__ import annotations

import dataclasses

import numpy as np

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
