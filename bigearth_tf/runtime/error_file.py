"""File in which a process says in one line why it ended; the launcher that started the process reads it."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from bigearth_tf.runtime.exit_codes import EXIT_STALLED
from bigearth_tf.runtime.files import write_json_atomically

# The launcher sets this variable to a different path for each rank.
PATH_VARIABLE = "BIGEARTH_ERROR_FILE"


def write_error(message: str, *, is_consequence: bool = False) -> None:
    """Writes why this process ends, if a launcher named an error file; only the first call writes. Never raises.

    Args:
        message: The reason; line breaks become spaces.
        is_consequence: Whether the failure of another rank is the reason.
    """
    path = os.environ.get(PATH_VARIABLE)
    if not path or os.path.exists(path):
        return
    # File names may contain bytes that are not UTF-8.
    line = " ".join(message.split()).encode(errors="backslashreplace").decode()
    with contextlib.suppress(OSError):  # For example on a full disk: the error itself matters more than its file.
        write_json_atomically(Path(path), {"message": line, "is_consequence": is_consequence})


def read_error(path: Path) -> tuple[str, bool]:
    """Returns (message, is_consequence) as written; ("", False) if nothing was written."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["message"]), bool(content["is_consequence"])
    except (OSError, ValueError, KeyError):
        return "", False


def write_stacks(title: str) -> None:
    """Writes a title and the stack of every thread of this process to standard error."""
    sys.stderr.write(f"{title}. Python stacks:\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(all_threads=True)


def exit_stalled(message: str) -> NoReturn:
    """Writes the error file and ends this process at once with EXIT_STALLED.

    An exception would not reach a thread that is inside a call that never returns, and `sys.exit` would wait for that
    thread.
    """
    write_error(message)
    sys.stderr.flush()
    os._exit(EXIT_STALLED)
