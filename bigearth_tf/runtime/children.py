"""Child processes that end when the process that started them ends, in whatever way it ends.

Every process that a command starts is started here or attaches itself here; a test checks that no other module starts
one. The signal comes from the kernel: it arrives also when the parent is killed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1
# Time in which a process ends at Ctrl+C, if it has nothing to save.
_NOTICE_S = 2.0
# Loaded before a fork: a new child must not load a library.
_LIBC = ctypes.CDLL(None)


def attach_to_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Makes the kernel send this process a signal when its parent ends; sends it now if the parent has ended already.

    Args:
        parent: Process id of the parent. The signal also comes if its thread that started this process ends.
        number: The signal.
    """
    if not hasattr(_LIBC, "prctl"):  # Not Linux: only there does a killed parent take its children with it.
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def start_child(command: Sequence[str], *, number: int = signal.SIGKILL, **options: Any) -> subprocess.Popen:
    """Starts a process that gets a signal when this process ends.

    Call it from the main thread: the signal also comes if the calling thread ends.

    Args:
        command: The program and its arguments.
        number: The signal.
        **options: As for `subprocess.Popen`.

    Raises:
        OSError: There is no such command.
    """
    attach = functools.partial(attach_to_parent, os.getpid(), number)
    return subprocess.Popen(command, preexec_fn=attach, **options)  # noqa: PLW1509 - calls only the kernel


def run_child(command: Sequence[str], *, number: int = signal.SIGTERM) -> int:
    """Runs a process that gets a signal when this process ends; returns its exit code.

    At Ctrl+C, which a terminal sends to both, the process has time to save; a second one raises KeyboardInterrupt.
    """
    with start_child(command, number=number) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                return process.wait(timeout=_NOTICE_S)
            except subprocess.TimeoutExpired:
                process.terminate()  # It is still saving, or only this process got the signal.
                return process.wait()


def initializer(then: Callable[..., None]) -> Callable[..., None]:
    """Returns an initializer for a pool of processes: it attaches each to this process, then calls a function."""
    return functools.partial(_attach_and_call, os.getpid(), then)


def _attach_and_call(parent: int, then: Callable[..., None], *arguments: Any) -> None:
    attach_to_parent(parent)
    then(*arguments)
