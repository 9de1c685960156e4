"""Requests to stop: Ctrl+C, a lost terminal, and the signals that a batch system sends before a job's time is over."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# In this order: `kill` and preemption, the end of a job's time, Ctrl+C, the end of a terminal or an ssh connection.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
# A process that `nohup` or a shell started in the background ignores these, and must continue to.
_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - not an error
    """A run that was asked to stop has saved its state."""


class StopSignal:
    """Remembers the first signal that asks to stop; a run reads `received` between two steps."""

    def __init__(self) -> None:
        """Has received nothing; `received` is the name of the first signal, such as "SIGTERM"."""
        self.received: str | None = None
        self._interrupted = False

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handles STOP_SIGNALS while the context lasts; outside the main thread it does nothing.

        A second Ctrl+C raises KeyboardInterrupt.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ignored = [number for number in _OF_TERMINALS if signal.getsignal(number) is signal.SIG_IGN]
        handled = [number for number in STOP_SIGNALS if number not in ignored]
        before = {number: signal.signal(number, self._receive) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            # Not by a stream: the signal may have interrupted a thread that holds the lock of the stream.
            with contextlib.suppress(OSError):
                os.write(2, b"\nCtrl+C: saving, then ending. Press Ctrl+C again to end at once.\n")
        self.received = self.received or signal.Signals(number).name
