"""How is a folder there whole or not at all? It is written beside its place, and renamed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_beside(folder: Path) -> Iterator[Path]:
    """Gives the path of a new folder, not made yet, that takes the place of `folder` when the `with` ends well."""
    temporary, replaced = (folder.with_name(f".{folder.name}.{end}") for end in ("tmp", "old"))
    for leftover in (temporary, replaced):  # Of a process that was killed.
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(replaced)
    temporary.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
