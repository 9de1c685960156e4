"""The match between the patches of the lists and the folders that exist, with counts of what is left out."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tfrecord_tools.listing.archive import Folder, find_other_ending
from tfrecord_tools.listing.known_layouts import PATCH_FOLDER, describe_other_data, explain_renaming
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.listing.walk import list_folders

_NUM_CHECKED = 20


class FoldersOf(NamedTuple):
    """What patches of one kind look like on disk.

    `kind` is the sensor, or MAP. `pattern` matches the whole name of a patch folder, of which `example` is one.
    `files` are the endings of the names of its images, such as `_B02.tif`. `source` takes
    them with `flag`.
    """

    kind: str
    pattern: re.Pattern[str]
    example: str
    files: tuple[str, ...]
    source: str
    flag: str


class FoundFolders(NamedTuple):
    """A root, a folder or tar, with the patch folders of one kind in it by name; `left_out` counts, by reason."""

    kind: str
    root: str
    by_name: Mapping[str, Folder]
    left_out: Mapping[str, int] = MappingProxyType({})


class ListedPatch(NamedTuple):
    """A patch of the lists. `names` are those of its folders, one in each root; the first is its id.

    `reason` is why the patch is left out; it is empty if the patch is not left out.
    """

    names: tuple[str, ...]
    split: str
    reason: str = ""
    labels: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


def find_folders(root: str, folders: FoldersOf) -> FoundFolders:
    """Returns every patch folder of one kind in a root, a tree or a tar.

    Raises:
        FileNotFoundError: The root is missing, or contains no patches: the message says what it contains.
        OSError: A folder cannot be listed.
        ValueError: The root is a compressed archive or another file, contains a patch twice, or the first patches have
            no image of this kind.
    """
    found, left_out = list_folders(root, folders.pattern, PATCH_FOLDER)
    if not found:
        raise FileNotFoundError(
            f"{root}: no {folders.kind} patches found, folders such as {folders.example}."
            f"{describe_other_data(root, folders.source, folders.flag)}"
        )
    _require_images(root, found, folders)
    return FoundFolders(folders.kind, root, found, left_out)


def _require_images(root: str, found: Mapping[str, Folder], folders: FoldersOf) -> None:
    """Checks that one of the first patches has an image of this kind, so that other data are refused at once."""
    example, names = None, []
    for folder in itertools.islice(found.values(), _NUM_CHECKED):
        try:
            files = folder.locate().names()
        except OSError:
            continue  # This patch alone is broken.
        if any(folder.name + ending in files for ending in folders.files):
            return
        if files and example is None:
            example, names = folder, files
    if example is None:
        return
    expected = example.name + folders.files[0]
    other = find_other_ending(names, expected)
    raise ValueError(
        f"{root}: none of the first patches has {folders.kind} images such as {expected}; {example} contains "
        f"{', '.join(names[:3])}."
        + (f" {explain_renaming(root, other)}" if other else describe_other_data(root, folders.source, folders.flag))
    )


def match_patches(
    found: Sequence[FoundFolders], listed: Iterable[ListedPatch], unlisted: str, partial_archive: bool
) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the patches to convert, in the order of the lists, and the number left out for each reason.

    Each folder that was found belongs to a returned patch or is counted: with another folder of a listed patch, or
    alone as not listed.

    Args:
        found: Each root, with its folders by name. A patch has one folder in each root.
        listed: The patches of the lists, each once.
        unlisted: The reason under which folders that are not listed are counted.
        partial_archive: Count listed patches that are missing, instead of raising an error.

    Raises:
        FileNotFoundError: Listed patches are missing.
    """
    folders = [root.by_name for root in found]
    refs: list[PatchRef] = []
    missing: list[tuple[str, ...]] = []
    left_out: collections.Counter[str] = collections.Counter()
    known = [0] * len(found)
    for names, split, reason, labels, attributes in listed:
        parts = {index: by_name[name] for index, (by_name, name) in enumerate(zip(folders, names)) if name in by_name}
        for index in parts:
            known[index] += 1
        if reason:
            left_out[reason] += bool(parts)
        elif len(parts) == len(found):
            refs.append(PatchRef(names[0], split, tuple(parts.values()), labels, attributes))
        else:
            missing.append(names)
            absent = " and ".join(root.kind for index, root in enumerate(found) if index not in parts)
            left_out[f"without {absent}" if parts else "not in the folder"] += 1
    if missing and not (partial_archive and refs):
        raise FileNotFoundError(_describe_missing(found, missing, len(refs)))
    for index, (root, count) in enumerate(zip(found, known)):
        left_out[f"{root.kind} {unlisted}" if index else unlisted] += len(root.by_name) - count
        left_out.update(root.left_out)
    return refs, {reason: count for reason, count in sorted(left_out.items()) if count}


def _describe_missing(found: Sequence[FoundFolders], missing: Sequence[tuple[str, ...]], num_matched: int) -> str:
    root, name = next((root.root, name) for root, name in zip(found, missing[0]) if name not in root.by_name)
    fix = "Finish unpacking the archive, or pass --partial_archive to convert those that are there."
    return (
        f"{len(missing)} of {num_matched + len(missing)} listed patches are missing, the first is {missing[0][0]}: "
        f"{root} has no folder {name}. {fix if num_matched else 'Name the archive to which these lists belong.'}"
    )
