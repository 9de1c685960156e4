"""What ended this process? Said in a file that whoever started it reads: one line instead of a traceback."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from bigearth_tf.runtime.exit_codes import EXIT_STALLED

# Set by the launcher to a path of this rank's own.
PATH_VARIABLE = "BIGEARTH_ERROR_FILE"


def write_error(message: str, *, knock_on: bool = False) -> None:
    """Writes why this process ends, where somebody has asked for it; the first reason stands.

    Args:
        message: One line.
        knock_on: Whether another rank's end is the reason.
    """
    path = os.environ.get(PATH_VARIABLE)
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


def write_stacks(title: str) -> None:
    """Writes a line, and where each thread of this process stands, to standard error."""
    sys.stderr.write(f"{title}. Python stacks:\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(all_threads=True)


def exit_stalled(message: str) -> NoReturn:
    """Ends this process, some thread of which may sit in a call that never returns, and notes why.

    An exception would not reach that thread, and an exit would wait for it.
    """
    write_error(message)
    sys.stderr.flush()
    os._exit(EXIT_STALLED)
