"""What ended this process? Said in a file that whoever started it reads: one line instead of a traceback."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

# Set by the launcher to a path of this rank's own.
VARIABLE = "BIGEARTH_ERROR_FILE"


def note_error(message: str, *, knock_on: bool = False) -> None:
    """Writes why this process ends, where somebody has asked for it; the first reason stands.

    Args:
        message: One line.
        knock_on: Whether another rank's end is the reason.
    """
    path = os.environ.get(VARIABLE)
    if not path or os.path.exists(path):
        return
    beside, noted = Path(f"{path}.tmp"), {"message": " ".join(message.split()), "knock_on": knock_on}
    with contextlib.suppress(OSError):  # On a full disk, say: what is to be noted matters more than the note.
        beside.write_text(json.dumps(noted), encoding="utf-8")
        beside.replace(path)


def read_error(path: Path) -> tuple[str, bool]:
    """Returns (message, knock_on) as noted; ("", False) where nothing was."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return str(noted["message"]), bool(noted["knock_on"])
    except (OSError, ValueError, KeyError):
        return "", False
