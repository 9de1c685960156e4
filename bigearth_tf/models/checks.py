"""Checks of config fields that several model families share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def check_choices(config: Any, **allowed: Iterable[str]) -> None:
    """Raises ValueError if a field has none of its allowed values."""
    for field, words in allowed.items():
        value = getattr(config, field)
        if value not in words:
            raise ValueError(f"{field}={value!r}: unknown; allowed: {', '.join(words)}.")


def check_ranges(config: Any, **ok: bool) -> None:
    """Raises ValueError if a field is out of range; `ok` is field -> whether it is in range."""
    wrong = [f"{field}={getattr(config, field)!r}" for field, fits in ok.items() if not fits]
    if wrong:
        raise ValueError(f"Out of range: {', '.join(wrong)} in {config}.")


def check_patches(config: Any) -> None:
    """Raises ValueError if patches of `patch_size` do not tile an image of `resolution_px`."""
    patch_size, resolution_px = config.patch_size, config.resolution_px
    if patch_size < 1 or resolution_px < patch_size or resolution_px % patch_size:
        divisors = ", ".join(str(side) for side in range(2, resolution_px + 1) if resolution_px % side == 0)
        raise ValueError(f"patch_size={patch_size} does not tile {resolution_px} px; allowed: {divisors}.")
