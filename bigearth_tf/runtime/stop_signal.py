"""Has somebody asked this process to stop? A batch system does so before its time is over, by SIGTERM or SIGUSR1."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

_OF_BATCH_SYSTEMS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818 - nothing has gone wrong
    """A run that was asked to stop has saved where it stands."""


class StopSignal:
    """Remembers the first signal that asks to stop; the run looks at `received` between two steps."""

    def __init__(self, signals: Sequence[signal.Signals] = _OF_BATCH_SYSTEMS) -> None:
        """Nothing has been received."""
        self._signals = signals
        self.received: str | None = None

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Takes the signals for as long as the context lasts; outside the main thread there are none to take."""
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
