"""Where do patches come from? One module each, with `list_patches` and `read_patch`."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PatchRef:
    """Where one patch lies: its id, its split, and the folders that `read_patch` takes."""

    patch_id: str
    split: str
    folders: tuple[str, ...]
