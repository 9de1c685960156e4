"""Requests to stop: the signals SIGTERM and SIGUSR1, which a batch system sends before a job's time is over."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

_OF_BATCH_SYSTEMS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818 - not an error
    """A run that was asked to stop has saved its state."""


class StopSignal:
    """Remembers the first signal that asks to stop; a run reads `received` between two steps."""

    def __init__(self, signals: Sequence[signal.Signals] = _OF_BATCH_SYSTEMS) -> None:
        """Takes the signals to handle; `received` is the name of the first one, such as "SIGTERM"."""
        self._signals = signals
        self.received: str | None = None

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handles the signals while the context lasts; outside the main thread it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in self._signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number).name
