"""What does a command need around its work? Quiet start-up, errors that a user can read, and a note of its versions."""

from __future__ import annotations

import faulthandler
import importlib.metadata
import logging as std_logging
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tqdm
from absl import app, logging

from bigearth_tf import __version__
from bigearth_tf.error_file import note_error

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "gdal")


def run_command(main: Callable[[], None]) -> None:
    """Parses absl flags and runs `main`.

    An error that the user can mend (ValueError, OSError) ends the command with its message alone and exit code 1;
    `--verbosity=1` shows the traceback. SIGUSR2 shows where every thread is, wherever that is, and changes nothing.
    SIGUSR1, which says that the time is nearly over, changes nothing once `main` has returned.
    """
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # Before any TensorFlow import: its notes on CPU instructions hide what a user should read.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def guarded(argv: list[str]) -> None:
        logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
        logging.get_absl_handler().setFormatter(std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. All options are flags, --name=value.")
        try:
            main()
        except (ValueError, OSError) as error:
            logging.debug("Traceback of the error below:", exc_info=True)
            note_error(str(error), knock_on=isinstance(error, ConnectionError))
            sys.exit(f"error: {error}")
        except Exception as error:
            note_error(f"{type(error).__name__}: {error}")
            raise
        # A job that is done while its processes end would otherwise be queued again, to do nothing.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses flags; a config override of an unknown field is told like any other wrong flag."""
    try:
        return app.parse_flags_with_usage(argv)
    except KeyError as error:
        sys.exit(f"error: {error.args[0]}; the fields are listed and explained in bigearth_tf/config.py")


def progress_bar(total: int, title: str, unit: str, **options: Any) -> tqdm.tqdm:
    """Returns a bar to `update`; in a log file, where it cannot redraw itself, a line of it every half minute."""
    if sys.stderr.isatty():
        return tqdm.tqdm(total=total, desc=title, unit=unit, dynamic_ncols=True, **options)
    options["leave"] = True  # What is left ends its line; what is wiped away would not.
    return tqdm.tqdm(total=total, desc=title, unit=unit, mininterval=30.0, file=_Lines(), **options)


class _Lines:
    """Standard error for a bar, which would write one line over and over: srun passes whole lines on, and no part."""

    def write(self, text: str) -> None:
        """Writes the bar as it is now, as a line of its own."""
        if text := text.strip():
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        """Lets it be seen now."""
        sys.stderr.flush()


def git_commit() -> str | None:
    """Returns the commit of the checkout that this code runs from, with "-dirty" where files differ; None elsewhere."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None


def package_versions() -> dict[str, str]:
    """Returns the versions that a result depends on, without importing what they are versions of."""
    versions = {"bigearth_tf": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
