"""The walk through a folder tree or a tar, which finds the folders or files of patches for every source.

It follows links, reads each folder once, and raises an error for what it cannot list. Files of the system
(`system_files`) are skipped without being opened. What could contain patches but cannot be followed is counted.
"""

from __future__ import annotations

import collections
import os
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from absl import logging

from bigearth_tf.runtime.system_files import is_system_file
from tfrecord_tools.listing.archive import File, Folder, Member, is_missing, read_members
from tfrecord_tools.listing.packed_files import explain_packed_file

BROKEN_LINKS = "links that lead nowhere"
LINKS_IN_TAR = "links in the tar"


class FolderListing(NamedTuple):
    """The folders of a root by their own names; `left_out` counts what cannot be followed, by reason."""

    found: dict[str, Folder]
    left_out: dict[str, int]


class FileListing(NamedTuple):
    """The files of a root, sorted by path; `left_out` counts what cannot be followed, by reason."""

    found: list[File]
    left_out: dict[str, int]


def list_folders(root: str, pattern: re.Pattern[str], opaque: re.Pattern[str] | None = None) -> FolderListing:
    """Returns every folder below `root`, a tree or a tar, whose own name matches the whole pattern.

    What has such a name but is no folder is returned too: it raises an error when it is read.

    Args:
        root: Folder or tar.
        pattern: Matches the names of the folders; they are not entered.
        opaque: Matches names of other folders that need not be entered.

    Raises:
        FileNotFoundError: The root is missing.
        OSError: A folder cannot be listed.
        ValueError: The root is a compressed archive or another file, or contains two folders of one name.
    """
    left_out: collections.Counter[str] = collections.Counter()
    if is_tar(root):
        return FolderListing(_find_tar_folders(root, pattern, left_out), _positive(left_out))
    found: dict[str, Folder] = {}
    for parent, name in _walk_tree(root, pattern, opaque, left_out):
        folder = Folder(parent, name)
        if name in found:
            raise ValueError(f"{root}: folder {name} is in two places, {found[name]} and {folder}. Keep one.")
        found[name] = folder
    return FolderListing(found, _positive(left_out))


def list_files(root: str, pattern: re.Pattern[str]) -> FileListing:
    """Returns every file below `root`, a tree or a tar, whose own name matches the whole pattern.

    What has such a name but is no file is returned too: it raises an error when it is read.

    Raises:
        FileNotFoundError: The root is missing.
        OSError: A folder cannot be listed.
        ValueError: The root is a compressed archive or another file.
    """
    left_out: collections.Counter[str] = collections.Counter()
    if is_tar(root):
        files = []
        for member in _walk_tar(root):
            if pattern.fullmatch(os.path.basename(member.file.member)):
                files.append(member.file._replace(refusal="is a folder") if member.is_folder else member.file)
            else:
                left_out[LINKS_IN_TAR] += member.is_link
    else:
        places = _walk_tree(root, pattern, None, left_out)
        files = [File(os.path.join(parent, name)) for parent, name in places]
    return FileListing(sorted(files, key=str), _positive(left_out))


def _positive(counts: collections.Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


def require_all_groups(root: str, expected: Iterable[str], found: Collection[str], partial_archive: bool) -> None:
    """Checks that each group of patches that a data set has, such as a class or a season, has a patch.

    Raises:
        FileNotFoundError: A group has none, and the archive is not said to be partial.
    """
    empty = [name for name in expected if name not in found]
    if not empty:
        return
    message = f"{root}: contains no image of {', '.join(empty)}."
    if not partial_archive:
        raise FileNotFoundError(
            f"{message} Finish unpacking the archive, or pass --partial_archive to convert what is there."
        )
    logging.warning("%s", message)


def is_tar(root: str) -> bool:
    """Returns whether the root is an uncompressed tar, False for a folder.

    Raises:
        FileNotFoundError: The root is missing.
        OSError: The root cannot be read.
        ValueError: The root is packed, or another file.
    """
    if os.path.isdir(root):
        return False
    if not os.path.exists(root):
        raise FileNotFoundError(f"{root}: no such folder or tar.")
    if packed := explain_packed_file(root):
        raise ValueError(f"{root}: {packed}")
    if not tarfile.is_tarfile(root):
        raise ValueError(f"{root}: neither a folder nor a tar.")
    return True


def _walk_tree(
    root: str, pattern: re.Pattern[str], opaque: re.Pattern[str] | None, left_out: collections.Counter[str]
) -> Iterator[tuple[str, str]]:
    """Yields the parent and the name of every entry that matches; each real folder is entered once."""
    real_root = os.path.realpath(root)
    visited, folders = {real_root}, [(root, real_root)]
    while folders:
        folder, real = folders.pop()
        for entry in _scan(folder):
            if is_system_file(entry.name):
                continue
            if pattern.fullmatch(entry.name):
                yield folder, entry.name
            elif not (opaque and opaque.fullmatch(entry.name)) and _is_folder(entry, left_out):
                # Not by inode, which several folders share on some network file systems.
                target = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
                if target not in visited:
                    visited.add(target)
                    folders.append((entry.path, target))


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise OSError(
            f"{folder}: the folder cannot be listed ({error.strerror}), so that its patches would be missing. Make it "
            "readable, or move it elsewhere."
        ) from error


def _is_folder(entry: os.DirEntry[str], left_out: collections.Counter[str]) -> bool:
    """Returns whether an entry is a folder or leads to one; counts a link that leads nowhere."""
    try:
        if entry.is_dir():
            return True
        left_out[BROKEN_LINKS] += entry.is_symlink() and not os.path.exists(entry.path)
    except OSError as error:
        if not is_missing(error):
            raise  # A link to itself is missing, and can hide no patch.
    return False


def _walk_tar(root: str) -> Iterator[Member]:
    """Yields every member that no system has left."""
    with open(root, "rb") as stream:
        for member in read_members(stream, root):
            if not is_system_file(member.file.member):
                yield member


def _find_tar_folders(root: str, pattern: re.Pattern[str], left_out: collections.Counter[str]) -> dict[str, Folder]:
    """Returns each folder by name, the bytes of its members joined into as few ranges as possible."""
    ranges: dict[str, dict[str, list[list[int]]]] = {}  # By parent, which most folders share.
    refusals: dict[str, str] = {}
    for member in _walk_tar(root):
        parent, name = os.path.split(member.file.member.removeprefix("./"))
        if not pattern.fullmatch(name):
            parent, name = os.path.split(parent)
            if not pattern.fullmatch(name):
                left_out[LINKS_IN_TAR] += member.is_link
                continue
        elif not member.is_folder:
            refusals[name] = member.file.refusal or "is not a folder"
        parts = ranges.setdefault(parent, {}).setdefault(name, [])
        # The header of the folder itself may lie between two members.
        if parts and member.start - parts[-1][1] <= 2 * tarfile.BLOCKSIZE:
            parts[-1][1] = member.end
        else:
            parts.append([member.start, member.end])
    found: dict[str, Folder] = {}
    for parent, by_name in ranges.items():
        for name, parts in by_name.items():
            if name in found:
                places = sorted(os.path.join(parent, name) for parent, others in ranges.items() if name in others)
                raise ValueError(f"{root}: folder {name} is in two places, {' and '.join(places)}. Keep one.")
            found[name] = Folder(root, name, tuple((start, end) for start, end in parts), refusals.get(name, ""))
    return found
