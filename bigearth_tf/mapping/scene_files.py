"""The files of a scene in a folder or in a zip, by their path within it."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class SceneFiles:
    """A folder or a zip and the paths of all its files, sorted, with "/" between folders."""

    root: Path
    names: tuple[str, ...]
    is_zip: bool

    def read(self, name: str) -> bytes:
        """Returns the content of a file."""
        if not self.is_zip:
            return (self.root / name).read_bytes()
        with zipfile.ZipFile(self.root) as archive:
            return archive.read(name)

    def gdal_path(self, name: str) -> str:
        """Returns the path by which GDAL reads a file."""
        return f"/vsizip/{{{self.root.resolve()}}}/{name}" if self.is_zip else os.fspath(self.root / name)

    def shown(self, name: str) -> str:
        """Returns the path of a file for messages."""
        return os.fspath(self.root / name)


def list_files(root: Path) -> SceneFiles:
    """Returns the files of a folder, links followed, or of a zip.

    Raises:
        ValueError: The zip is damaged or cut.
        OSError: A folder cannot be listed.
    """
    if root.is_dir():
        names = [
            (Path(folder) / file).relative_to(root).as_posix()
            for folder, _, files in os.walk(root, onerror=_raise, followlinks=True)
            for file in files
        ]
        return SceneFiles(root, tuple(sorted(names)), is_zip=False)
    try:
        with zipfile.ZipFile(root) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{root}: is not a whole zip ({error}). Download it again.") from error
    return SceneFiles(root, tuple(sorted(names)), is_zip=True)


def _raise(error: OSError) -> None:
    raise error
