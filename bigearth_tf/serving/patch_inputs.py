"""Patches to predict, read one after the other: the protocol of an input, and its form for a list of patches."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional, Protocol, Union

import numpy as np


@dataclasses.dataclass(frozen=True)
class InputPatch:
    """A patch to predict.

    `bands` maps at least the bands of the model to [size_px, size_px] in their types. `labels` are names of classes,
    None if they are not known. `attributes` are other texts. `no_data` is the share of pixels without data, 0 ... 1.
    `remark` is what a user should check about it.
    """

    patch_id: str
    bands: Mapping[str, np.ndarray]
    labels: Optional[tuple[str, ...]] = None
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    no_data: float = 0.0
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class InputProblem:
    """An input that cannot be predicted: its name, and what is wrong with it."""

    name: str
    problem: str


InputItem = Union[InputPatch, InputProblem]


class PatchInputs(Protocol):
    """Inputs in a fixed order.

    `identity` is JSON that identifies them: other inputs have another one. `attributes` are the names of the attributes
    that patches may have.
    """

    identity: dict[str, Any]
    attributes: tuple[str, ...]

    def __len__(self) -> int:
        """Returns the number of inputs."""

    def read(self, start: int = 0) -> Iterator[InputItem]:
        """Yields one item for each input, from number `start` on."""


def hash_names(names: Iterable[str]) -> str:
    """Returns a SHA-256 of names in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


class ListedPatches:
    """Inputs that are read by a function, each when its turn comes; an error is a problem of one input alone."""

    def __init__(
        self,
        names: Sequence[str],
        read_one: Callable[[int], InputPatch],
        *,
        identity: Optional[dict[str, Any]] = None,
        attributes: tuple[str, ...] = (),
    ) -> None:
        """Takes the names, and the function that reads an input by its number.

        Args:
            names: Names for messages.
            read_one: Returns a patch; raises ValueError or OSError if the input is broken.
            identity: JSON that identifies the inputs; their names by default.
            attributes: Names of the attributes that patches may have.
        """
        self._names, self._read_one = names, read_one
        self.identity = {"names_sha256": hash_names(names)} if identity is None else identity
        self.attributes = attributes

    def __len__(self) -> int:
        """Returns the number of inputs."""
        return len(self._names)

    def read(self, start: int = 0) -> Iterator[InputItem]:
        """Yields one item for each input, from number `start` on."""
        for number in range(start, len(self._names)):
            yield self.read_one(number)

    def read_one(self, number: int) -> InputItem:
        """Returns one input."""
        try:
            return self._read_one(number)
        except (ValueError, OSError) as error:
            return InputProblem(self._names[number], str(error))
