"""A clock for time limits that stands still while its process is suspended."""

from __future__ import annotations

import time


class RunningClock:
    """Counts the seconds in which a process could run.

    A process may be suspended, by Ctrl+Z or by `scontrol suspend`, and continue hours later. By the time of the machine
    all of its time limits would then be over at once. Here, the time between two calls of `tick` counts only up to
    `longest_s`, which a process that runs does not exceed.
    """

    def __init__(self, longest_s: float) -> None:
        """Starts at 0 seconds."""
        self._longest_s = longest_s
        self._ticked_at, self.seconds = time.monotonic(), 0.0

    def tick(self) -> float:
        """Returns the seconds since the start; only one thread may call it, any may read `seconds`."""
        now = time.monotonic()
        self.seconds += min(now - self._ticked_at, self._longest_s)
        self._ticked_at = now
        return self.seconds
