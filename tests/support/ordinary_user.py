"""File permissions that hold for the tests even if root runs them."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NOBODY = 65534


@contextlib.contextmanager
def ordinary_user() -> Iterator[Path]:
    """Yields a new folder, and makes this process an ordinary user until the context ends.

    Such a user may not be able to import modules: those that the context needs must be loaded before.
    """
    codecs.lookup("utf-8-sig")  # Loads a module, and remembers for the rest of the process if it cannot.
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    try:
        if user == 0:
            os.chown(folder, _NOBODY, -1)
            os.seteuid(_NOBODY)
        yield folder
    finally:
        os.seteuid(user)
        shutil.rmtree(folder, ignore_errors=True)
