"""The content of folders, for comparison."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the name and the bytes of every file of a folder that has no folders."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
