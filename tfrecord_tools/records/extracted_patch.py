"""Patches of a tar as files of their own, extracted by the standard library.

A conversion reads a member of a tar in place, from the bytes at which it was found. A check must not repeat a mistake
of that way: it extracts the member, and then reads an ordinary file.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfrecord_tools.listing.archive import File, Folder
from tfrecord_tools.listing.patch_ref import PatchRef

_TARS_KEPT = 8


@contextlib.contextmanager
def extract_patch(ref: PatchRef) -> Iterator[PatchRef]:
    """Yields a patch whose parts are folders and files: a patch in a tar is extracted until the context ends.

    Raises:
        OSError: The tar cannot be read, or there is no room for the files.
        ValueError: The tar is damaged.
    """
    with contextlib.ExitStack() as stack:
        parts: list[Folder | File] = []
        for part in ref.parts:
            if isinstance(part, Folder) and part.ranges:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bigearth_verify_"))
                parts.append(_extract_folder(part, Path(folder)))
            elif isinstance(part, File) and part.member and _is_tar(part.path):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bigearth_verify_"))
                parts.append(_extract_file(part, Path(folder)))
            else:
                parts.append(part)
        yield ref._replace(parts=tuple(parts))


def _extract_folder(folder: Folder, target: Path) -> Folder:
    (target / folder.name).mkdir()
    for start, end in folder.ranges:
        with _open_tar(folder.parent, start) as tar:
            while (member := tar.next()) is not None and member.offset < end:
                parent, name = os.path.split(member.name)
                if os.path.basename(parent) == folder.name:
                    _extract_member(tar, member, target / folder.name / name)
    return Folder(str(target), folder.name)


def _extract_file(file: File, target: Path) -> File:
    path = target / os.path.basename(file.member)
    offset = _find_headers(file.path).get(file.member)
    if offset is not None:
        with _open_tar(file.path, offset) as tar:
            member = tar.next()
            assert member is not None and member.name == file.member, file
            _extract_member(tar, member, path)
    return File(str(path))


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Writes a regular member, also one that is stored with holes; a link has no bytes of its own."""
    content = tar.extractfile(member) if member.isreg() else None
    if content is not None:
        path.write_bytes(content.read())


@contextlib.contextmanager
def _open_tar(path: str, start: int = 0) -> Iterator[tarfile.TarFile]:
    """Yields a tar whose next member is that with its header at byte `start`."""
    try:
        with open(path, "rb") as stream:
            stream.seek(start)
            yield tarfile.TarFile(fileobj=stream, mode="r")
    except tarfile.TarError as error:
        raise ValueError(f"{path}: damaged tar ({error}). Copy or download it again.") from error


@functools.lru_cache(_TARS_KEPT)
def _find_headers(path: str) -> dict[str, int]:
    """Returns member -> byte of its header; of two with one name, the last, as for `tar --extract`."""
    found = {}
    with _open_tar(path) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # Otherwise tarfile keeps all in memory.
            found[member.name] = member.offset
    return found


@functools.lru_cache(_TARS_KEPT)
def _is_tar(path: str) -> bool:
    return tarfile.is_tarfile(path)
