"""Progress bars for terminals and for log files."""

from __future__ import annotations

import sys
from typing import Any

import tqdm


def progress_bar(total: int, title: str, unit: str, **options: Any) -> tqdm.tqdm:
    """Returns a bar to `update`; in a log file, where it cannot redraw itself, a line of it every half minute."""
    if sys.stderr.isatty():
        return tqdm.tqdm(total=total, desc=title, unit=unit, dynamic_ncols=True, **options)
    options["leave"] = True  # What is left ends its line; what is wiped away would not.
    return tqdm.tqdm(total=total, desc=title, unit=unit, mininterval=30.0, file=_Lines(), **options)


class _Lines:
    """Standard error for a bar, which would write one line over and over: srun passes whole lines on, and no part."""

    def write(self, text: str) -> None:
        """Writes the bar as it is now, as a line of its own."""
        if text := text.strip():
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        """Lets it be seen now."""
        sys.stderr.flush()
