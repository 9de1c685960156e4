"""Does this rank still move? If not, it says where every rank stands and ends the job: nobody waits for ever.

Horovod's own check for stalled ranks does nothing under Gloo in 0.28.1, and a rank that waits for a frozen peer
waits without end.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bigearth_tf.distributed.replica import Replica
from bigearth_tf.runtime.error_file import exit_stalled, write_error, write_stacks
from bigearth_tf.runtime.files import write_text_atomically

_WRITE_EVERY_S = 2.0
_REPORT_S = 10.0

# What is no plain step, such as a first one, which compiles, may take so many times as long; and so may a step after
# a slow one: on a small machine a step takes what it takes.
_PATIENCE = 10


class Watchdog:
    """A thread that ends the process `timeout_s` after its last `beat`, or later where more patience is due.

    Each rank leaves its last beat in `<workdir>/ranks/`: those that can still speak tell of those that cannot. The
    first that gives up says so there, and those that wait show their stacks, too, before its end ends them.
    """

    def __init__(self, workdir: Path, replica: Replica, timeout_s: float) -> None:
        """Takes the folder that all ranks share; nothing is watched yet."""
        self._folder = workdir / "ranks"
        self._replica = replica
        self._timeout_s = timeout_s
        self._place, self._time, self._written = "start", time.monotonic(), 0.0
        self._allowed_s = _PATIENCE * timeout_s
        self._ended, self._writing = threading.Event(), threading.Lock()
        self._alarm, self._alarm_before, self._shown = self._folder / "stalled", 0, False

    def beat(self, place: str, *, plain: bool = True) -> None:
        """Notes that this rank has come to a place, such as "epoch 3, step 17".

        Args:
            place: Where it is.
            plain: Whether what it does next was done before and took no longer than a step.
        """
        now = time.monotonic()
        self._allowed_s = max(self._timeout_s * (1 if plain else _PATIENCE), _PATIENCE * (now - self._time))
        self._place, self._time = place, now
        if self._time - self._written > _WRITE_EVERY_S:
            self._write()

    def _write(self, waits: bool = False) -> None:
        self._written = time.monotonic()
        beat_at = time.time() - (self._written - self._time)
        content = {"host": socket.gethostname(), "process": os.getpid(), "place": self._place, "time": beat_at}
        content["waits"] = waits
        with self._writing:
            write_text_atomically(self._folder / f"{self._replica.rank}.json", json.dumps(content) + "\n")

    def watch_iterable(self, items: Iterable[Any], place: str) -> Iterator[Any]:
        """Yields items, with a beat before each and one after the last."""
        for number, item in enumerate(items):
            self.beat(place, plain=number > 1)
            yield item
        self.beat(f"after {place}", plain=False)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watches for as long as the context lasts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.beat(self._place)
        self._alarm_before = self._alarm_given_at()
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._timeout_s / 10)):
            idle_s = time.monotonic() - self._time
            if idle_s > self._allowed_s:
                self._show_stacks(idle_s)  # Before anything else: the end of another rank may end this one.
                _try_for(_REPORT_S, functools.partial(self._report, idle_s))
                exit_stalled(f"no step for {idle_s:.0f} s")  # The report, where it could be made, has named the cause.
            if idle_s > _WRITE_EVERY_S:
                _try_for(_WRITE_EVERY_S, functools.partial(self._speak_while_waiting, idle_s))

    def _speak_while_waiting(self, idle_s: float) -> None:
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            # Ranks differ in patience: one that may wait longer must not pass for one that stands still.
            self._write(waits=_is_in_tensorflow())
        if self._alarm_given_at() != self._alarm_before:
            self._show_stacks(idle_s)

    def _alarm_given_at(self) -> int:
        """Returns when a rank, of this run or of one before, last gave up; 0 where none has."""
        try:
            return self._alarm.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _show_stacks(self, idle_s: float) -> None:
        if not self._shown:
            self._shown = True
            write_stacks(f"rank {self._replica.rank}: no step for {idle_s:.0f} s")

    def _report(self, idle_s: float) -> None:
        rank = self._replica.rank
        self._write(waits=_is_in_tensorflow())
        self._alarm.touch()
        time.sleep(_WRITE_EVERY_S)  # The others, which wait for the same rank, say where they stand, too.
        now = time.time()
        beats = [self._read(number) for number in range(self._replica.world_size)]
        lines = [
            f"rank {rank}: no step for {idle_s:.0f} s (communication.stall_timeout_s={self._timeout_s:g}); "
            "ending the job. Where every rank stood last:"
        ]
        for number, beat in enumerate(beats):
            ago = f"{beat['place']}, {now - beat['time']:.0f} s ago" if beat else "never heard of"
            lines.append(f"  rank {number}{_whereabouts(beat)}: {ago}")
        # One that was never heard of is behind all others. Of ranks in one step, whose beats are milliseconds apart by
        # clocks that may differ, those inside TensorFlow may well wait for one that is not.
        behind = min(range(len(beats)), key=lambda n: (beats[n].get("waits", False), beats[n].get("time", 0.0)))
        cause = f"rank {behind}{_whereabouts(beats[behind])} has stood still for longest and is the likely cause"
        lines.append(f"{cause}.")
        write_error(f"no step for {idle_s:.0f} s; {cause}")
        sys.stderr.write("\n".join(lines) + "\n")

    def _read(self, rank: int) -> dict[str, Any]:
        """Returns the last beat of a rank as it left it; {} where there is none."""
        try:
            beat = json.loads((self._folder / f"{rank}.json").read_text(encoding="utf-8"))
            return beat if beat.keys() >= {"host", "process", "place", "time"} else {}
        except (OSError, ValueError):
            return {}


def _try_for(seconds: float, action: Callable[[], None]) -> None:
    """Does something that may never return, as where the shared file system hangs, and goes on after that time."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)


def _is_in_tensorflow() -> bool:
    """Tells whether the main thread is inside a call of TensorFlow or Horovod."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame and frame.f_code.co_filename.startswith("<"):  # Functions that were generated.
        frame = frame.f_back
    return frame is not None and not {"tensorflow", "horovod"}.isdisjoint(Path(frame.f_code.co_filename).parts)


def _whereabouts(beat: dict[str, Any]) -> str:
    return f" on {beat['host']} (process {beat['process']})" if beat else ""
