"""Where do patches come from? One module each, with `open_source(inputs)`, all alike to the converter.

A source lists its patches once, cheaply; reading one is a function that other processes can call.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from bigearth_tf.bands import Band
from bigearth_tf.datasets import DatasetSpec
from tfrecord_tools.archive import File, Folder
from tfrecord_tools.patch import Patch


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
    label_kind: str
    refs: list[PatchRef]
    read: Callable[[PatchRef], Patch]
    roots: tuple[str, ...]
    origin: str
    exclusions: dict[str, int] = dataclasses.field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    options: dict[str, object] = dataclasses.field(default_factory=dict)


def list_sources() -> tuple[str, ...]:
    """Returns the names of all sources."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_source(name: str, inputs: SourceInputs) -> Source:
    """Returns the source of a name, its patches listed.

    Raises:
        FileNotFoundError: A folder, tar or list is missing, or holds no patches.
        ValueError: The name is unknown, or the inputs are not those that it takes.
    """
    if name not in list_sources():
        raise ValueError(f"Unknown source {name!r}; allowed: {', '.join(list_sources())}.")
    return importlib.import_module(f"{__name__}.{name}").open_source(inputs)


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
