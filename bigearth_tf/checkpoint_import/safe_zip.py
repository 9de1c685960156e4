"""Safe unpacking of a zip from the internet: refuses paths outside the folder, links, and endless members.

The sizes in the archive are not trusted: bytes are counted as they are unpacked.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

MAX_MEMBERS = 1000
# Four checkpoints of the benchmark's largest model, each with the two slots of its optimizer.
MAX_BYTES = 8 * 2**30
_CHUNK = 2**20


def unpack(path: Path, folder: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES) -> None:
    """Unpacks the files of a zip into an empty folder; after an error the folder is empty again.

    Files that macOS adds (`__MACOSX`, `._*`) are skipped.

    Raises:
        ValueError: The zip is damaged, a member is unsafe, or there are too many members or bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not _is_from_macos(member.filename)]
            _check_members(path, members, max_members)
            remaining = max_bytes
            for member in members:
                if not member.is_dir():
                    remaining -= _extract(archive, member, folder, remaining)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        _clear(folder)
        raise ValueError(f"{path}: this zip is damaged or cut short ({error}). Download it again.") from error
    except _TooManyBytesError as error:
        _clear(folder)
        message = f"{path}: unpacks to more than {max_bytes:,} bytes; no model of the benchmark does."
        raise ValueError(message) from error
    except BaseException:
        _clear(folder)
        raise


class _TooManyBytesError(Exception):
    """More bytes were unpacked than are allowed."""


def _is_from_macos(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or bool(parts and parts[-1].startswith("._"))


def _check_members(path: Path, members: list[zipfile.ZipInfo], max_members: int) -> None:
    if len(members) > max_members:
        raise ValueError(f"{path}: {len(members):,} members; {max_members:,} are allowed.")
    names: set[str] = set()
    for member in members:
        problem = _find_problem(member)
        if not problem and member.filename.lower() in names:
            problem = "is in the zip twice"
        if problem:
            raise ValueError(f"{path}: member {member.filename!r} {problem}. The zip was not imported.")
        names.add(member.filename.lower())


def _find_problem(member: zipfile.ZipInfo) -> str | None:
    """Returns why a member is unsafe, None if it is safe."""
    name = member.orig_filename
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in parts[0]:
        return "has an absolute or foreign path"
    if any(part in ("", ".", "..") for part in parts):
        return "leaves the folder"
    if member.flag_bits & 0x1:
        return "is encrypted"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return None


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, max_bytes: int) -> int:
    """Writes one file and returns its size."""
    target = folder.joinpath(*member.filename.split("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise _TooManyBytesError
            file.write(chunk)
    return size


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
