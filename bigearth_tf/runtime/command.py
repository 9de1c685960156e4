"""Start-up and error handling of a command: flags, logging, readable errors and debugging signals."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import logging as std_logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from bigearth_tf.runtime.error_file import write_error
from bigearth_tf.runtime.exit_codes import EXIT_BY_SIGNAL, EXIT_STOPPED
from bigearth_tf.runtime.stop_signal import Stopped

_EXIT_INTERRUPTED = EXIT_BY_SIGNAL + signal.SIGINT
_REQUIRED = "it is required."
_USUAL_FILES = 1024
_HELP_FLAGS = ("help", "helpfull", "helpshort", "helpxml")
# A home folder at the start of a flag's value, or of one of several values: a shell leaves it as it is after a "=".
_HOME = re.compile(r"(?<=[=,])~[^/,\s]*(?=[/,\s]|$)")


def run_command(main: Callable[[], None]) -> None:
    """Parses absl flags and runs `main`.

    An error that the user can fix (ValueError, OSError) ends the command with its message alone and exit code 1;
    `--verbosity=1` also shows the traceback. A run that was asked to stop and is saved (Stopped) ends it with
    EXIT_STOPPED, any other Ctrl+C with one line and exit code 130. At any time SIGUSR2 prints the stack of every thread
    and changes nothing. SIGUSR1, by which a batch system announces the end of the job's time, is ignored after `main`
    has returned. In the values of flags, ~ is the home folder.
    """
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # Must be set before TensorFlow is imported, whose notes on CPU instructions hide the messages for the user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A file name that is not UTF-8 can then be printed. The call needs a stream that is still the one of the start.
    with contextlib.suppress(OSError):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    argv = [sys.argv[0], *map(expand_home, sys.argv[1:])]
    try:
        app.run(lambda argv: _run(main, argv), argv=argv, flags_parser=_parse_flags)
    except KeyboardInterrupt:
        # A second one must not show the traceback of a clean-up.
        signal.signal(signal.SIGINT, lambda *_: os._exit(_EXIT_INTERRUPTED))
    # Reached after Ctrl+C only: absl exits.
    _exit_interrupted()


def _run(main: Callable[[], None], argv: list[str]) -> None:
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
        sys.exit(f"error: {error}{_hint(error)}")
    except Exception as error:
        write_error(f"{type(error).__name__}: {error}")
        raise
    # A finished job that gets the signal while its processes end would be queued again, with nothing left to do.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _exit_interrupted() -> NoReturn:
    """Ends this process with one line."""
    gc.collect()  # Closes what the exception kept open, such as a generator with processes.
    write_error("interrupted (Ctrl+C)")
    # On a line of its own: the terminal shows ^C, perhaps after a progress bar.
    sys.stderr.write("\ninterrupted (Ctrl+C); run the same command to complete the work\n")
    sys.exit(_EXIT_INTERRUPTED)


def expand_home(argument: str) -> str:
    """Returns a command line argument with the home folder in place of ~."""
    return _HOME.sub(lambda found: os.path.expanduser(found[0]), argument)


def _hint(error: Exception) -> str:
    """Returns what to add to the message of an error whose own text names no fix."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        fix = f"`ulimit -n {_USUAL_FILES}`" if most >= _USUAL_FILES else f"a new shell: {most} is the most in this one"
        return f". This process may open {limit} files (`ulimit -n`). Raise that with {fix}; then run the same command."
    return ""


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses flags; reports an override of an unknown config field like any other wrong flag."""
    for name in _HELP_FLAGS:
        _exit_with_success(flags.FLAGS[name])
    for name in flags.FLAGS:
        _mark_if_required(flags.FLAGS[name])
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        text = str(error).replace(f"=None: {_REQUIRED}", f": {_REQUIRED}").replace("flag --", "--")
        sys.exit(f"error: {text}\n--help explains the flags.")
    except (KeyError, AttributeError) as error:  # As ml_collections reports an unknown field of a config.
        text = re.sub(r"on dataclass <class '(?:\w+\.)*(\w+)'>", r"in \1", str(error.args[0]))
        sys.exit(f"error: {text}; --help lists the fields of the config.")


def _mark_if_required(flag: flags.Flag) -> None:
    """Says in the help of a required flag, and in the message about a missing one, that it is required."""
    for validator in flag.validators:
        # absl marks a required flag by nothing else.
        if validator.message == f"Flag --{flag.name} must have a value other than None.":
            validator.message = f"{_REQUIRED} {flag.help.splitlines()[0]}"
            flag.help = f"Required. {flag.help}"


def _exit_with_success(flag: flags.Flag) -> None:
    """Makes a flag that shows a help text end the command with exit code 0; absl's is 1."""
    show = flag.parse

    def parse(argument: str) -> None:
        try:
            show(argument)
        except SystemExit:
            sys.exit(0)

    flag.parse = parse  # type: ignore[method-assign]
