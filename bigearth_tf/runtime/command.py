"""Start-up and error handling of a command: flags, logging, readable errors and debugging signals."""

from __future__ import annotations

import faulthandler
import logging as std_logging
import os
import signal
import sys
from collections.abc import Callable

from absl import app, logging

from bigearth_tf.runtime.error_file import write_error
from bigearth_tf.runtime.exit_codes import EXIT_STOPPED
from bigearth_tf.runtime.stop_signal import Stopped


def run_command(main: Callable[[], None]) -> None:
    """Parses absl flags and runs `main`.

    An error that the user can fix (ValueError, OSError) ends the command with its message alone and exit code 1;
    `--verbosity=1` also shows the traceback. A run that was asked to stop and is saved (Stopped) ends it with
    EXIT_STOPPED. At any time SIGUSR2 prints the stack of every thread and changes nothing.
    SIGUSR1, by which a batch system announces the end of the job's time, is ignored after `main` has returned.
    """
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # Must be set before TensorFlow is imported, whose notes on CPU instructions hide the messages for the user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    def guarded(argv: list[str]) -> None:
        logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
        logging.get_absl_handler().setFormatter(std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}. All options are flags, --name=value.")
        try:
            main()
        except Stopped as stopped:
            logging.info("%s Run the same command again to resume.", stopped)
            sys.exit(EXIT_STOPPED)
        except (ValueError, OSError) as error:
            logging.debug("Traceback of the error below:", exc_info=True)
            write_error(str(error), is_consequence=isinstance(error, ConnectionError))
            sys.exit(f"error: {error}")
        except Exception as error:
            write_error(f"{type(error).__name__}: {error}")
            raise
        # A finished job that gets the signal while its processes end would be queued again, with nothing left to do.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses flags; reports an override of an unknown config field like any other wrong flag."""
    try:
        return app.parse_flags_with_usage(argv)
    except KeyError as error:
        sys.exit(f"error: {error.args[0]}; the fields are listed and explained in bigearth_tf/config.py")
