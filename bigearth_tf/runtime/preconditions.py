"""Checks before the work of a command: its packages are installed, and its output folders can be written."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

# Package -> the extra of this project that installs it. Every other package comes with the project itself.
_EXTRAS = {"osgeo": "geo", "tensorflow": "cpu", "horovod": "horovod", "tensorflow_addons": "addons"}


def require_packages(*names: str) -> None:
    """Checks that Python packages are installed, without importing them.

    Raises:
        ValueError: One is missing; the message says how to install it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            wanted = f"pip install '.[{_EXTRAS[name]}]'" if name in _EXTRAS else "pip install ."
            raise ValueError(
                f"The Python package {name} is not installed, and this command needs it. In the checkout, `{wanted}` "
                "installs it; README.md, Requirements, says how."
            )


def require_writable(folder: Path) -> None:
    """Checks that a folder, or the folder that it will be created in, can be written; creates nothing.

    Raises:
        ValueError: It cannot; the message names the folder and the reason.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = "is a file" if existing.is_file() else f"cannot be written ({error.strerror})"
        where = "" if existing == folder else f"{folder} cannot be created: "
        raise ValueError(f"{where}{existing} {reason}. Name another folder.") from error
