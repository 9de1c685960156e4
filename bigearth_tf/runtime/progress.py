"""Progress bars for terminals and for log files."""

from __future__ import annotations

import sys
from typing import Any

import tqdm


def progress_bar(total: int, title: str, unit: str, **options: Any) -> tqdm.tqdm:
    """Returns a bar to `update`; in a log file, where a bar cannot redraw itself, it adds a line every 30 seconds."""
    if sys.stderr.isatty():
        return tqdm.tqdm(total=total, desc=title, unit=unit, dynamic_ncols=True, **options)
    options["leave"] = True  # Otherwise tqdm erases the finished bar, and the log lacks its last state.
    return tqdm.tqdm(total=total, desc=title, unit=unit, mininterval=30.0, file=_Lines(), **options)


class _Lines:
    """Standard error as a file for tqdm, with each redraw as a line of its own: srun forwards only complete lines."""

    def write(self, text: str) -> None:
        """Writes the current bar as a line."""
        if text := text.strip():
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        """Flushes standard error."""
        sys.stderr.flush()
