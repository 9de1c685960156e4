"""What does a command need around its work? Quiet start-up, errors that a user can read, and a note of its versions."""

from __future__ import annotations

import faulthandler
import logging as std_logging
import os
import signal
import sys
from collections.abc import Callable

from absl import app, logging

from bigearth_tf.runtime.error_file import write_error


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
            write_error(str(error), knock_on=isinstance(error, ConnectionError))
            sys.exit(f"error: {error}")
        except Exception as error:
            write_error(f"{type(error).__name__}: {error}")
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
