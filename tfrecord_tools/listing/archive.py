"""Places of files and folders in a folder tree, or in an uncompressed tar that is read in place.

A tar of millions of small files need not be unpacked onto a cluster's file system: its headers are read once, a folder
is stored as the byte ranges that contain it, and GDAL reads a member in place (`/vsisubfile/`). A place takes
little memory and can be sent to another process.

A member that cannot be read in place is found too, and says why when it is read: a link, or a file that is stored with
holes (`tar --sparse`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

PACK_AGAIN = (
    "Pack the tar again from the files, with --dereference --hard-dereference and without --sparse; or unpack it, and "
    "name the folder."
)


class UnreadableMemberError(OSError):
    """A member of a tar cannot be read in place; the message says why."""


class File(NamedTuple):
    """A file of a tree or a member of a tar; for a member, `offset` and `size` are bytes within the tar at `path`.

    `refusal` is why a member cannot be read in place; it is empty if it can.
    """

    path: str
    offset: int = 0
    size: int = -1
    member: str = ""
    refusal: str = ""

    @property
    def gdal_path(self) -> str:
        """The name by which GDAL opens the file."""
        return f"/vsisubfile/{self.offset}_{self.size},{self.path}" if self.member else self.path

    def __str__(self) -> str:
        """The name for messages."""
        return f"{self.path}:{self.member}" if self.member else self.path

    def exists(self) -> bool:
        """Whether the file exists.

        Raises:
            OSError: The file system does not say so, for example because a folder above must not be entered.
        """
        return bool(self.member) or _has_type(self.path, stat.S_ISREG)

    def check(self) -> None:
        """Reads the first byte.

        Raises:
            OSError: The file is missing, is not a regular file, or cannot be read.
        """
        if not self.exists():
            raise FileNotFoundError(f"{self}: no such file")
        self.read_start(1)

    def read_bytes(self) -> bytes:
        """Returns the content.

        Raises:
            OSError: The file cannot be read.
        """
        descriptor = self._open()
        with os.fdopen(descriptor, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def read_start(self, limit: int) -> bytes:
        """Returns the content, or its first `limit` bytes; does not wait for a pipe.

        Raises:
            OSError: The file cannot be read.
        """
        descriptor = self._open()
        try:
            return os.pread(descriptor, min(limit, self.size) if self.member else limit, self.offset)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        if self.refusal:
            raise UnreadableMemberError(self.refusal)
        return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)


class Folder(NamedTuple):
    """A folder of a tree or of a tar; for a tar, `ranges` are the bytes of the tar at `parent` with its members.

    `refusal` is why a folder of a tar cannot be read in place; it is empty if it can.
    """

    parent: str
    name: str
    ranges: tuple[tuple[int, int], ...] = ()
    refusal: str = ""

    def __str__(self) -> str:
        """The name for messages."""
        return f"{self.parent}:{self.name}" if self.ranges else os.path.join(self.parent, self.name)

    def exists(self) -> bool:
        """Whether the folder exists.

        Raises:
            OSError: The file system does not say so.
        """
        return bool(self.ranges) or _has_type(str(self), stat.S_ISDIR)

    def locate(self) -> FolderFiles:
        """Returns the folder's files by name; those of a tar are found by reading their headers.

        Raises:
            OSError: The tar cannot be read, or the folder is a link in it.
        """
        if not self.ranges:
            return FolderFiles(self, str(self), None)
        if self.refusal:
            raise UnreadableMemberError(self.refusal)
        members: dict[str, File] = {}
        with open(self.parent, "rb") as stream:
            for start, end in self.ranges:
                for member in read_members(stream, self.parent, start, end):
                    folder, name = os.path.split(member.file.member)
                    if os.path.basename(folder) == self.name and not member.is_folder:
                        members[name] = member.file
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

    def names(self) -> list[str]:
        """Returns the names of all files, sorted.

        Raises:
            OSError: The folder cannot be listed.
        """
        return sorted(os.listdir(self.path) if self.members is None else self.members)


def find_other_ending(names: Iterable[str], wanted: str) -> str:
    """Returns the first of some names that differs from the name of a TIFF only in its ending, or ""."""
    pattern = re.compile(re.escape(os.path.splitext(wanted)[0]) + r"\.(?i:tiff?)")
    return next((name for name in names if name != wanted and pattern.fullmatch(name)), "")


def _has_type(path: str, is_type: Callable[[int], bool]) -> bool:
    """Returns whether a path exists and is of a type; a link that leads nowhere or to itself does not exist."""
    try:
        return is_type(os.stat(path).st_mode)
    except OSError as error:
        if is_missing(error):
            return False
        raise


def is_missing(error: OSError) -> bool:
    """Returns whether an error says that a file does not exist, and not that it cannot be read."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ELOOP


class Member(NamedTuple):
    """A member of a tar, and its bytes with header and padding."""

    file: File
    start: int
    end: int
    is_folder: bool
    is_link: bool


def read_members(stream: BinaryIO, root: str, start: int = 0, end: int | None = None) -> Iterator[Member]:
    """Yields every member whose header is between two bytes of a tar.

    Raises:
        ValueError: The tar is damaged or truncated.
        OSError: The tar cannot be read.
    """
    stream.seek(start)
    try:
        tar = tarfile.TarFile(fileobj=stream, mode="r")
        while (member := tar.next()) is not None and (end is None or member.offset < end):
            tar.members.clear()  # type: ignore[attr-defined]  # Otherwise tarfile keeps all in memory.
            # A long path overwrites the name of a file with holes by that of its place in the tar.
            name = member.pax_headers.get("GNU.sparse.name", member.name)
            file = File(root, member.offset_data, member.size, name, _find_refusal(member))
            yield Member(file, member.offset, tar.offset, member.isdir(), member.issym())
        stream.seek(tar.offset)
        # tarfile treats a broken header, or a truncated file, as the end.
        if end is None and stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header and no end mark at byte {tar.offset}")
    except (tarfile.TarError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a seek to where no header can be.
            raise
        raise ValueError(f"{root}: damaged tar ({error}). Copy or download it again.") from error


def _find_refusal(member: tarfile.TarInfo) -> str:
    """Returns why the bytes of a member are not those of its file; "" if they are."""
    if member.issparse():
        return "is stored with holes (tar --sparse), so that it cannot be read in place"
    if member.issym() or member.islnk():
        kind = "link" if member.issym() else "hard link"
        return f"is a {kind} to {member.linkname} in the tar, so that it cannot be read in place"
    return "" if member.isreg() or member.isdir() else "is not a regular file of the tar"
