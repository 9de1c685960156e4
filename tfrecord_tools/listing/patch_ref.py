"""The place of one patch, with what its source lists."""

from __future__ import annotations

from typing import NamedTuple

from tfrecord_tools.listing.archive import File, Folder


class PatchRef(NamedTuple):
    """What is known of one patch before it is read: id, split, folders or files, perhaps labels and attributes."""

    patch_id: str
    split: str
    parts: tuple[Folder | File, ...]
    labels: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
