"""Places of files and folders in a folder tree, or in an uncompressed tar that is read in place.

A tar of millions of small files need not be unpacked onto a cluster's file system: its headers are read once, a folder
is stored as the byte ranges that contain it, and GDAL reads a member in place (`/vsisubfile/`). A place takes
little memory and can be sent to another process.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_DEPTH = 3  # Levels of folders above those of the patches; also ends loops of links.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


class File(NamedTuple):
    """A file of a tree or a member of a tar; for a member, `offset` and `size` are bytes within the tar at `path`."""

    path: str
    offset: int = 0
    size: int = -1
    member: str = ""

    @property
    def gdal_path(self) -> str:
        """The name by which GDAL opens the file."""
        return f"/vsisubfile/{self.offset}_{self.size},{self.path}" if self.member else self.path

    def __str__(self) -> str:
        """The name for messages."""
        return f"{self.path}:{self.member}" if self.member else self.path

    def exists(self) -> bool:
        """Whether the file exists."""
        return bool(self.member) or os.path.isfile(self.path)

    def read_bytes(self) -> bytes:
        """Returns the content."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def read_start(self, limit: int) -> bytes:
        """Returns the content, or its first `limit` bytes; does not wait for a pipe."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.pread(descriptor, min(limit, self.size) if self.member else limit, self.offset)
        finally:
            os.close(descriptor)


class Folder(NamedTuple):
    """A folder of a tree or of a tar; for a tar, `ranges` are the bytes of the tar at `parent` with its members."""

    parent: str
    name: str
    ranges: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        """The name for messages."""
        return f"{self.parent}:{self.name}" if self.ranges else os.path.join(self.parent, self.name)

    def exists(self) -> bool:
        """Whether the folder exists."""
        return bool(self.ranges) or os.path.isdir(str(self))

    def locate(self) -> FolderFiles:
        """Returns the folder's files by name; those of a tar are found by reading their headers."""
        if not self.ranges:
            return FolderFiles(self, str(self), None)
        members: dict[str, File] = {}
        with open(self.parent, "rb") as stream:
            for start, end in self.ranges:
                for file, _, _ in _members(stream, self.parent, start, end):
                    if os.path.basename(os.path.dirname(file.member)) == self.name:
                        members[os.path.basename(file.member)] = file
        return FolderFiles(self, str(self), members)


class FolderFiles(NamedTuple):
    """The files of one folder; `members` are those of a tar, None for a folder of a tree."""

    folder: Folder
    path: str
    members: dict[str, File] | None

    def file(self, name: str) -> File:
        """Returns the file with this name, whether it exists or not."""
        named = File(f"{self.path}{os.sep}{name}")
        return named if self.members is None else self.members.get(name, named)


def list_folders(root: str, pattern: re.Pattern[str]) -> dict[str, Folder]:
    """Returns name -> place of every folder below `root`, a tree or a tar, whose own name matches the whole pattern.

    Raises:
        FileNotFoundError: The root is missing.
        ValueError: The root is a compressed archive or another file, or contains two folders of one name.
    """
    found: dict[str, Folder] = {}
    for folder in _tar_folders(root, pattern) if _is_tar(root) else _tree_folders(root, pattern, _DEPTH):
        if folder.name in found:
            raise ValueError(f"{root}: folder {folder.name} is in two places, {found[folder.name]} and {folder}.")
        found[folder.name] = folder
    return found


def list_files(root: str, pattern: re.Pattern[str]) -> list[File]:
    """Returns every file below `root`, a tree or a tar, whose own name matches the whole pattern, sorted by path.

    Raises:
        FileNotFoundError: The root is missing.
        ValueError: The root is a compressed archive or another file.
    """
    if _is_tar(root):
        with open(root, "rb") as stream:
            files = [file for file, _, _ in _members(stream, root) if pattern.fullmatch(os.path.basename(file.member))]
    else:
        files = [
            File(os.path.join(folder, name))
            for folder, _, names in os.walk(root)
            for name in names
            if pattern.fullmatch(name)
        ]
    return sorted(files, key=str)


def _is_tar(root: str) -> bool:
    """Returns whether the root is an uncompressed tar, False for a folder."""
    if os.path.isdir(root):
        return False
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root}: no such folder or tar.")
    with open(root, "rb") as stream:
        start = stream.read(6)
    for magic, (kind, command) in _COMPRESSED.items():
        if start.startswith(magic):
            raise ValueError(
                f"{root}: compressed with {kind}, so that its members cannot be read in place. Decompress it once: "
                f"{command} {os.path.basename(root)}"
            )
    if not tarfile.is_tarfile(root):
        raise ValueError(f"{root}: neither a folder nor a tar.")
    return True


def _tree_folders(root: str, pattern: re.Pattern[str], depth: int) -> Iterator[Folder]:
    with os.scandir(root) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                yield Folder(root, entry.name)
            elif depth and os.path.isdir(entry.path):  # Not entry.is_dir(), which fails for a link to itself.
                yield from _tree_folders(entry.path, pattern, depth - 1)


def _tar_folders(root: str, pattern: re.Pattern[str]) -> Iterator[Folder]:
    """Yields each folder once, the bytes of its members joined into as few ranges as possible."""
    ranges: dict[str, list[list[int]]] = {}
    with open(root, "rb") as stream:
        for file, start, end in _members(stream, root):
            name = os.path.basename(os.path.dirname(file.member))
            if not pattern.fullmatch(name):
                continue
            parts = ranges.setdefault(name, [])
            # The header of the folder itself may lie between two members.
            if parts and start - parts[-1][1] <= 2 * tarfile.BLOCKSIZE:
                parts[-1][1] = end
            else:
                parts.append([start, end])
    for name, parts in ranges.items():
        yield Folder(root, name, tuple((start, end) for start, end in parts))


def _members(stream: BinaryIO, root: str, start: int = 0, end: int | None = None) -> Iterator[tuple[File, int, int]]:
    """Yields every regular member between two bytes of a tar, the start of its header, and the end of its data."""
    stream.seek(start)
    try:
        tar = tarfile.TarFile(fileobj=stream, mode="r")
        while (member := tar.next()) is not None and (end is None or member.offset < end):
            tar.members.clear()  # type: ignore[attr-defined]  # Otherwise tarfile keeps all in memory.
            if member.isreg():
                blocks = -(-member.size // tarfile.BLOCKSIZE)
                file = File(root, member.offset_data, member.size, member.name)
                yield file, member.offset, member.offset_data + blocks * tarfile.BLOCKSIZE
        stream.seek(tar.offset)
        # tarfile treats a broken header, or a truncated file, as the end.
        if end is None and stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header and no end mark at byte {tar.offset}")
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{root}: damaged tar ({error}). Copy or download it again.") from error
