"""The sources of patches: one module each, with the function `open_source(inputs)`.

A source lists its patches once, quickly; other processes can call its function that reads a patch.
"""

from __future__ import annotations

import importlib
import pkgutil

from tfrecord_tools.source import Source, SourceInputs

# Former name of a source, which is still accepted -> its name.
FORMER_NAMES = {"published_tfrecords": "int64_tfrecords"}


def list_sources() -> tuple[str, ...]:
    """Returns the names of all sources."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_source(name: str, inputs: SourceInputs) -> Source:
    """Returns the source with a name or former name, after listing its patches.

    Raises:
        FileNotFoundError: A folder, tar or list is missing, or contains no patches.
        ValueError: The name is unknown, or the inputs are not those that it takes.
    """
    name = FORMER_NAMES.get(name, name)
    if name not in list_sources():
        raise ValueError(f"Unknown source {name!r}; allowed: {', '.join(list_sources())}.")
    return importlib.import_module(f"{__name__}.{name}").open_source(inputs)
