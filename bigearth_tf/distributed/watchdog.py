"""Watchdog of a rank: ends the process when it makes no progress, and reports where every rank was last.

Horovod's own check for stalled ranks does nothing under Gloo in 0.28.1, and a rank that waits for a frozen rank would
wait forever.
"""

from __future__ import annotations

import contextlib
import dataclasses
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
from bigearth_tf.runtime.files import write_json_atomically
from bigearth_tf.runtime.running_clock import RunningClock

_WRITE_EVERY_S = 2.0
_REPORT_S = 10.0

# Work other than a repeated step, such as the first step, which compiles, may take this many times `timeout_s`. A step
# may take this many times as long as the step before, as on a slow machine.
_LONG_WORK_FACTOR = 10


@dataclasses.dataclass(frozen=True)
class _Beat:
    """The last beat of a rank, as stored in the file of the rank.

    Attributes:
        host: Name of its host.
        process: Process id.
        place: What it was doing, such as "epoch 3, step 17".
        time: Unix time of the beat, in seconds.
        waits: Whether its main thread was inside TensorFlow or Horovod when the file was written.
    """

    host: str
    process: int
    place: str
    time: float
    waits: bool = False


class Watchdog:
    """A thread that ends the process `timeout_s` after its last `beat`, or later after a beat that allows more time.

    The time in which the process was suspended does not count.

    Each rank writes its last beat to `<workdir>/ranks/<rank>.json`, so that the others can report on a rank that no
    longer responds. The first rank that gives up touches `ranks/stalled`; the ranks that wait then print their stacks,
    too, before they fail because the first rank has ended.
    """

    def __init__(self, workdir: Path, replica: Replica, timeout_s: float) -> None:
        """Takes the folder that all ranks share and the time that is allowed without a beat."""
        self._folder = workdir / "ranks"
        self._replica = replica
        self._timeout_s = timeout_s
        self._period_s = min(1.0, timeout_s / 10)
        self._clock = RunningClock(2 * self._period_s)
        # When the last beat was, by the clock of the machine, which places it among those of other ranks, and by the
        # clock that limits count by.
        self._place, self._time, self._beat_s, self._written = "start", time.monotonic(), 0.0, 0.0
        self._allowed_s = _LONG_WORK_FACTOR * timeout_s
        self._ended, self._writing = threading.Event(), threading.Lock()
        self._alarm, self._alarm_before, self._has_shown_stacks = self._folder / "stalled", 0, False

    def beat(self, place: str, *, is_repeated_step: bool = True) -> None:
        """Notes the progress of this rank.

        Args:
            place: What it does next, such as "epoch 3, step 17".
            is_repeated_step: Whether it repeats earlier work and takes no longer than a step.
        """
        now_s = self._clock.seconds
        self._allowed_s = max(
            self._timeout_s * (1 if is_repeated_step else _LONG_WORK_FACTOR), _LONG_WORK_FACTOR * (now_s - self._beat_s)
        )
        self._place, self._time, self._beat_s = place, time.monotonic(), now_s
        if self._time - self._written > _WRITE_EVERY_S:
            self._write()

    def watch_iterable(self, items: Iterable[Any], place: str) -> Iterator[Any]:
        """Yields items, with a beat before each and one after the last."""
        for number, item in enumerate(items):
            self.beat(place, is_repeated_step=number > 1)
            yield item
        self.beat(f"after {place}", is_repeated_step=False)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watches this process while the context lasts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.beat(self._place)
        self._alarm_before = self._read_alarm()
        thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _write(self, waits: bool = False) -> None:
        self._written = time.monotonic()
        beat_at = time.time() - (self._written - self._time)
        beat = _Beat(socket.gethostname(), os.getpid(), self._place, beat_at, waits)
        with self._writing:
            write_json_atomically(self._folder / f"{self._replica.rank}.json", dataclasses.asdict(beat))

    def _run(self) -> None:
        writing: threading.Thread | None = None
        while not self._ended.wait(self._period_s):
            idle_s = self._clock.tick() - self._beat_s
            if idle_s > self._allowed_s:
                self._show_stacks(idle_s)  # Before anything else: the end of another rank may end this one.
                _start(functools.partial(self._report, idle_s)).join(_REPORT_S)
                exit_stalled(f"no step for {idle_s:.0f} s")  # If `_report` succeeded, it has written the cause.
            if idle_s > _WRITE_EVERY_S and not (writing and writing.is_alive()):
                writing = _start(functools.partial(self._write_while_waiting, idle_s))

    def _write_while_waiting(self, idle_s: float) -> None:
        if time.monotonic() - self._written > _WRITE_EVERY_S:
            # Ranks may have different time limits: one that may wait longer must not look like one that hangs.
            self._write(waits=_is_in_tensorflow())
        if self._read_alarm() != self._alarm_before:
            self._show_stacks(idle_s)

    def _read_alarm(self) -> int:
        """Returns when a rank, of this run or of an earlier one, last gave up, in ns; 0 if none has."""
        try:
            return self._alarm.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _show_stacks(self, idle_s: float) -> None:
        if not self._has_shown_stacks:
            self._has_shown_stacks = True
            write_stacks(f"rank {self._replica.rank}: no step for {idle_s:.0f} s")

    def _report(self, idle_s: float) -> None:
        """Writes the last beat of every rank, and which of them is the likely cause."""
        self._write(waits=_is_in_tensorflow())
        self._alarm.touch()
        time.sleep(_WRITE_EVERY_S)  # The others, which wait for the same rank, write their beats, too.
        now, beats = time.time(), [self._read(number) for number in range(self._replica.world_size)]
        limit = f"communication.stall_timeout_s={self._timeout_s:g}"
        lines = [
            f"rank {self._replica.rank}: no step for {idle_s:.0f} s ({limit}); ending the job. "
            "Last place of every rank:"
        ]
        for number, beat in enumerate(beats):
            place = f"{beat.place}, {now - beat.time:.0f} s ago" if beat else "unknown"
            lines.append(f"  rank {number}{_describe_process(beat)}: {place}")
        behind = min(range(len(beats)), key=lambda number: _progress_key(beats[number]))
        cause = (
            f"rank {behind}{_describe_process(beats[behind])} has made no progress for longest and is the likely cause"
        )
        lines.append(f"{cause}.")
        write_error(f"no step for {idle_s:.0f} s; {cause}")
        sys.stderr.write("\n".join(lines) + "\n")

    def _read(self, rank: int) -> _Beat | None:
        """Returns the last beat of a rank; None if it left none."""
        try:
            return _Beat(**json.loads((self._folder / f"{rank}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def _progress_key(beat: _Beat | None) -> tuple[bool, float]:
    """Returns a key by which the rank that holds up the others comes first.

    A rank without a beat comes before all others. Ranks in the same step have beats within milliseconds of each other,
    and their clocks may differ: of these, a rank inside TensorFlow probably waits for one that is not.
    """
    return (beat.waits, beat.time) if beat else (False, 0.0)


def _describe_process(beat: _Beat | None) -> str:
    return f" on {beat.host} (process {beat.process})" if beat else ""


def _start(action: Callable[[], None]) -> threading.Thread:
    """Starts an action in a thread: it may never return, for example if the shared file system hangs."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def _is_in_tensorflow() -> bool:
    """Returns whether the main thread is inside a call of TensorFlow or Horovod."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame and frame.f_code.co_filename.startswith("<"):  # Generated functions.
        frame = frame.f_back
    return frame is not None and not {"tensorflow", "horovod"}.isdisjoint(Path(frame.f_code.co_filename).parts)
