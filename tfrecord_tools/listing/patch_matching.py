"""The match between the patches of the lists and the folders that exist, with counts of what is left out."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfrecord_tools.listing.archive import Folder, list_folders
from tfrecord_tools.listing.patch_ref import PatchRef


class ListedPatch(NamedTuple):
    """A patch of the lists. `names` are those of its folders, one in each root; the first is its id.

    `reason` is why the patch is left out; it is empty if the patch is not left out.
    """

    names: tuple[str, ...]
    split: str
    reason: str = ""
    labels: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


def find_folders(root: str, kind: str, pattern: re.Pattern[str], example: str) -> dict[str, Folder]:
    """Returns patch name -> place of every patch folder of a root, a tree or a tar.

    Args:
        root: Folder or tar.
        kind: The sensor, for the message.
        pattern: Matches the whole name of a patch.
        example: Such a name, for the message.

    Raises:
        FileNotFoundError: The root is missing, or contains no patches.
        ValueError: The root is a compressed archive or another file, or contains a patch twice.
    """
    found = list_folders(root, pattern)
    if not found:
        raise FileNotFoundError(f"{root}: no {kind} patches found, folders such as {example}.")
    return found


def match_patches(
    found: Sequence[tuple[str, Mapping[str, Folder]]],
    listed: Iterable[ListedPatch],
    unlisted: str,
    partial_archive: bool,
) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the patches to convert, in the order of the lists, and the number left out for each reason.

    Args:
        found: Each root, with its folders by name. A patch has one folder in each root.
        listed: The patches of the lists, each once.
        unlisted: The reason under which patches of the first root that are not listed are counted.
        partial_archive: Count listed patches that are missing, instead of raising an error.

    Raises:
        FileNotFoundError: Listed patches are missing.
    """
    folders = [by_name for _, by_name in found]
    refs: list[PatchRef] = []
    missing: list[tuple[str, ...]] = []
    left_out: collections.Counter[str] = collections.Counter()
    known = 0
    for names, split, reason, labels, attributes in listed:
        known += names[0] in folders[0]
        if reason:
            left_out[reason] += names[0] in folders[0]
            continue
        try:
            parts = tuple([by_name[name] for by_name, name in zip(folders, names)])
        except KeyError:
            missing.append(names)
            continue
        refs.append(PatchRef(names[0], split, parts, labels, attributes))
    if missing and not (partial_archive and refs):
        raise FileNotFoundError(_describe_missing(found, missing, len(refs)))
    left_out["not in the folder"] = len(missing)
    left_out[unlisted] = len(folders[0]) - known
    return refs, {reason: count for reason, count in sorted(left_out.items()) if count}


def _describe_missing(
    found: Sequence[tuple[str, Mapping[str, Folder]]], missing: Sequence[tuple[str, ...]], num_matched: int
) -> str:
    root, name = next((root, name) for (root, by_name), name in zip(found, missing[0]) if name not in by_name)
    fix = "Finish unpacking the archive, or pass --partial_archive to convert those that are there."
    return (
        f"{len(missing)} of {num_matched + len(missing)} listed patches are missing, the first is {missing[0][0]}: "
        f"{root} has no folder {name}. {fix if num_matched else 'Name the archive to which these lists belong.'}"
    )
