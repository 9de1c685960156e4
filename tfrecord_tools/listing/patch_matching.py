"""Which of the listed patches are there? Lists meet the folders that were found, and what stays out is counted."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfrecord_tools.listing.archive import Folder, list_folders
from tfrecord_tools.listing.patch_ref import PatchRef


class ListedPatch(NamedTuple):
    """What lists say of a patch. `names` are those of its folders, one in each root; the first is its id.

    `reason` says why the patch is left out, and is empty where it is not.
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
        kind: What the folders are, for the message.
        pattern: What a patch is named like, from its first letter to its last.
        example: Such a name, for the message.

    Raises:
        FileNotFoundError: There is no such root, or it holds no patches.
        ValueError: The root is a compressed archive or another file, or holds a patch twice.
    """
    found = list_folders(root, pattern)
    if not found:
        raise FileNotFoundError(f"{root}: no {kind} patches found, folders such as {example}.")
    return found


def match_patches(
    there: Sequence[tuple[str, Mapping[str, Folder]]],
    listed: Iterable[ListedPatch],
    unlisted: str,
    partial_archive: bool,
) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the patches to convert, in the order of the lists, and how many were left out for which reason.

    Args:
        there: Each root with the folders in it by name. A patch has one folder in each.
        listed: What is known, each patch once.
        unlisted: What to call the patches of the first root that are not listed.
        partial_archive: Take listed patches that are not there for absent on purpose: count them.

    Raises:
        FileNotFoundError: Listed patches are missing.
    """
    folders = [found for _, found in there]
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
            parts = tuple([found[name] for found, name in zip(folders, names)])
        except KeyError:
            missing.append(names)
            continue
        refs.append(PatchRef(names[0], split, parts, labels, attributes))
    if missing and not (partial_archive and refs):
        absent = next((root, name) for (root, found), name in zip(there, missing[0]) if name not in found)
        mend = "Finish unpacking the archive, or pass --partial_archive to convert those that are there."
        raise FileNotFoundError(
            f"{len(missing)} of {len(refs) + len(missing)} listed patches are not there, the first is {missing[0][0]}: "
            f"{absent[0]} has no folder {absent[1]}. {mend if refs else 'Name the archive that these lists are of.'}"
        )
    left_out["not in the folder"] = len(missing)
    left_out[unlisted] = len(folders[0]) - known
    return refs, {reason: count for reason, count in sorted(left_out.items()) if count}
