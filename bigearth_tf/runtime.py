"""What does a command need around its work? Quiet start-up, errors that a user can read, and a note of its versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable

from absl import app, logging

from bigearth_tf import __version__

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "gdal")


def run_command(main: Callable[[], None]) -> None:
    """Parses absl flags and runs `main`.

    An error that the user can mend (ValueError, OSError) ends the command with its message alone and exit code 1;
    `--verbosity=1` shows the traceback.
    """
    # Before any TensorFlow import: its notes on CPU instructions hide what a user should read.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. All options are flags, --name=value.")
        try:
            main()
        except (ValueError, OSError) as error:
            logging.debug("Traceback of the error below:", exc_info=True)
            sys.exit(f"error: {error}")

    app.run(guarded)


def package_versions() -> dict[str, str]:
    """Returns the versions that a result depends on, without importing what they are versions of."""
    versions = {"bigearth_tf": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
