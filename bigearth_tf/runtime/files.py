"""Atomic writes of files and folders, and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1 << 20


def require_utf8(path: str | os.PathLike) -> None:
    """Checks that TensorFlow can open a path.

    Raises:
        ValueError: The path is not UTF-8.
    """
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{os.fspath(path)}: the name is not UTF-8, so that TensorFlow cannot open it. Rename the folder, or name "
            "a link to it whose name is UTF-8."
        ) from error


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a file next to its final name, then renames it."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomically(path: Path, content: Any) -> None:
    """Writes JSON for people and programs: indented, without escaped characters, with a newline at the end.

    Raises:
        ValueError: A number is not finite.
    """
    write_text_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a path to write; if the context succeeds, the file is synchronized to disk and renamed to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields the path of a folder to create; if the context succeeds, it replaces `folder`."""
    temporary, replaced = (folder.with_name(f".{folder.name}.{end}") for end in ("tmp", "old"))
    for leftover in (temporary, replaced):  # Left by a process that was killed.
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


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes in hexadecimal."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
    return hashed.hexdigest()
