"""The place of one patch, with what lists say of it."""

from __future__ import annotations

from typing import NamedTuple

from tfrecord_tools.listing.archive import File, Folder


class PatchRef(NamedTuple):
    """Where one patch lies, and what lists say of it: its id, split, folders or files, labels, and attributes."""

    patch_id: str
    split: str
    parts: tuple[Folder | File, ...]
    labels: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
