"""How is a zip from the internet unpacked without harm? Nothing leaves the folder, is a link, or is endless.

What an archive says of itself is not believed: bytes are counted as they come out.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

MAX_MEMBERS = 1000
# The largest model of the benchmark, with the two slots of its optimiser, four times.
MAX_BYTES = 8 * 2**30
_CHUNK = 2**20


def unpack(path: Path, folder: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES) -> None:
    """Unpacks the files of a zip into an empty folder; after an error the folder is empty again.

    What macOS adds (`__MACOSX`, `._*`) is left out.

    Raises:
        ValueError: It is no whole zip, or a member is unsafe, or they are too many or too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not _is_clutter(member.filename)]
            _check(path, members, max_members)
            left = max_bytes
            for member in members:
                if not member.is_dir():
                    left -= _extract(archive, member, folder, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        _empty(folder)
        raise ValueError(f"{path}: this zip is damaged or cut short ({error}). Fetch it again.") from error
    except _TooMuchError as error:
        _empty(folder)
        raise ValueError(f"{path}: unpacks to more than {max_bytes:,} bytes; no published model does.") from error
    except BaseException:
        _empty(folder)
        raise


class _TooMuchError(Exception):
    """More bytes came out than are allowed."""


def _is_clutter(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or bool(parts and parts[-1].startswith("._"))


def _check(path: Path, members: list[zipfile.ZipInfo], max_members: int) -> None:
    if len(members) > max_members:
        raise ValueError(f"{path}: {len(members):,} members; {max_members:,} are allowed.")
    seen: set[str] = set()
    for member in members:
        why = _why_unsafe(member)
        if not why and member.filename.lower() in seen:
            why = "stands in the zip twice"
        if why:
            raise ValueError(f"{path}: member {member.filename!r} {why}. Nothing of this zip is used.")
        seen.add(member.filename.lower())


def _why_unsafe(member: zipfile.ZipInfo) -> str | None:
    """Returns what is wrong with a member, None where nothing is."""
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
                raise _TooMuchError
            file.write(chunk)
    return size


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
