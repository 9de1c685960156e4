"""Process of one rank's command: its log, the signals that it gets, and why it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from bigearth_tf.launch.messages import Ending, Orders, TaskSettings
from bigearth_tf.launch.server import LaunchClient
from bigearth_tf.runtime import error_file
from bigearth_tf.runtime.children import start_child
from bigearth_tf.runtime.exit_codes import EXIT_BY_SIGNAL, EXIT_LOST, EXIT_STOPPED
from bigearth_tf.runtime.running_clock import RunningClock
from bigearth_tf.runtime.stop_signal import STOP_SIGNALS

# The share of `fail_within_s` in which a failure is noticed; the rest is for ending the ranks.
NOTICE_SHARE = 1 / 3


class RankProcess:
    """The process of one rank's command, from its start to the report of its end."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], settings: TaskSettings, rank: int) -> None:
        """Starts the command.

        Raises:
            OSError: There is no such command.
        """
        self._rank, self._log_dir, self._fail_within_s = rank, settings.log_dir, settings.fail_within_s
        self._notice_s = settings.fail_within_s * NOTICE_SHARE
        self._errors = tempfile.TemporaryDirectory(prefix="bigearth_launch_")
        self._error_file = Path(self._errors.name) / "error.json"
        self._last_line = b"no output"
        self._forwarded: set[int] = set()
        self._process = start_child(
            command,
            env={**environ, error_file.PATH_VARIABLE: str(self._error_file)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, client: LaunchClient) -> int:
        """Watches the process until it ends, and reports to the launcher; returns the exit code."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._forward)
        with (self._log_dir / f"rank-{self._rank}.log").open("ab") as log:
            copier = threading.Thread(target=self._copy_output, args=(log,), daemon=True)
            copier.start()
            ended_here = self._watch(client)
            copier.join(timeout=5)
        ending = ended_here or self._explain()
        self._errors.cleanup()
        try:
            client.send_ending(ending)
            if ending.code:
                # srun ends all tasks when one fails; the other ranks must have shown their stacks before.
                client.wait_for_orders(lambda orders: orders.leave)
        except OSError:
            pass
        return ending.code

    def _forward(self, number: int, _: FrameType | None = None) -> None:
        self._forwarded.add(number)
        self._process.send_signal(number)

    def _copy_output(self, log: BinaryIO) -> None:
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, b""):
            log.write(line)
            log.flush()
            if self._rank == 0:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            self._last_line = line.strip() or self._last_line

    def _watch(self, client: LaunchClient) -> Ending | None:
        """Waits for the process; returns why this method killed it, or None if it ended by itself or by orders."""
        # A turn of the loop takes less than half of `_notice_s`, if this process is not suspended.
        wait_s, request_s = min(1.0, self._notice_s / 5), self._notice_s / 4
        clock = RunningClock(self._notice_s / 2)
        last_orders_s = last_running_s = 0.0
        while True:
            try:
                self._process.wait(timeout=wait_s)
                return None
            except subprocess.TimeoutExpired:
                now_s = clock.tick()
            if not self._is_frozen():
                last_running_s = now_s
            elif now_s - last_running_s > self._notice_s:
                self._kill()
                return Ending(
                    EXIT_LOST, f"frozen: its process was stopped (SIGSTOP) for {now_s - last_running_s:.0f} s"
                )
            try:
                orders = client.get_orders(request_s)
                last_orders_s = now_s
            except OSError as error:
                if now_s - last_orders_s > self._notice_s:
                    self._kill()
                    message = f"lost the launcher, which was silent for {now_s - last_orders_s:.0f} s: {error}"
                    return Ending(EXIT_LOST, message, is_consequence=True)
                continue
            self._obey(orders)

    def _obey(self, orders: Orders) -> None:
        """Sends the ordered signal once; ends the process if another rank has failed."""
        if orders.signal and orders.signal not in self._forwarded:
            self._forward(orders.signal)
        if orders.abort:
            try:
                # Most processes notice that a rank is lost, report it, and end by themselves.
                self._process.wait(timeout=self._fail_within_s / 12)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGUSR2)  # Prints the stacks of its threads; see runtime/command.py.
                time.sleep(1.0)
                self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _is_frozen(self) -> bool:
        try:
            status = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] in "Tt"

    def _explain(self) -> Ending:
        """Returns how the process ended: by its error file, else by its exit code and last line of output."""
        code = self._process.returncode
        message, is_consequence = error_file.read_error(self._error_file)
        if -code in self._forwarded:
            # The process did not handle the signal yet, or never does; the run can be resumed.
            return Ending(EXIT_STOPPED, message, is_consequence)
        if message or not code:
            return Ending(EXIT_BY_SIGNAL - code if code < 0 else code, message, is_consequence)
        if code < 0:
            # Horovod's start aborts the process if another rank is lost.
            is_consequence = -code == signal.SIGABRT
            return Ending(EXIT_BY_SIGNAL - code, f"killed by {signal.Signals(-code).name}", is_consequence)
        return Ending(code, f"exit code {code}: {self._last_line.decode(errors='replace')}")
