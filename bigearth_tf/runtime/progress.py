"""Progress bars for terminals and for log files."""

from __future__ import annotations

import sys
from typing import Any

import tqdm

# Seconds between two lines in a log file.
_LINE_S = 30.0


def progress_bar(total: int, title: str, unit: str, **options: Any) -> tqdm.tqdm:
    """Returns a bar to `update`; in a log file, where a bar cannot redraw itself, it adds a line every 30 seconds.

    The time before the first update does not count for the estimate: processes start in it.
    """
    if sys.stderr.isatty():
        return _Bar(total=total, desc=title, unit=unit, dynamic_ncols=True, **options)
    options["leave"] = True  # Otherwise tqdm erases the finished bar, and the log lacks its last state.
    return _Bar(total=total, desc=title, unit=unit, mininterval=_LINE_S, file=_Lines(), **options)


class _Bar(tqdm.tqdm):
    """A bar that shows the first update at once and measures from it on."""

    # What an update before this one would have changed: the start of the count, and that of the clock.
    _whole: tuple[float, float] | None = None
    initial: float
    start_t: float

    def update(self, n: float | None = 1) -> bool | None:
        """Adds to the bar."""
        if self._whole is not None or self.disable or not n:
            return super().update(n)
        self._whole = self.initial, self.start_t
        self.n += n
        self.initial = self.last_print_n = self.n
        self.unpause()
        return bool(self.refresh())

    def close(self) -> None:
        """Shows the last state."""
        if self._whole is not None and self.n == self.initial:  # There was one update, which took all the time.
            self.initial, self.start_t = self._whole
        super().close()


class _Lines:
    """Standard error as a file for tqdm, with each redraw as a line of its own: srun forwards only complete lines."""

    def write(self, text: str) -> None:
        """Writes the current bar as a line."""
        if text := text.strip():
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        """Flushes standard error."""
        sys.stderr.flush()
