"""What does one rank do? It starts the command where the launcher wants it, watches it, and says how it ended."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

from absl import logging

from bigearth_tf.distributed.rendezvous import host_name
from bigearth_tf.launch import network
from bigearth_tf.launch.layout import (
    Place,
    device_name,
    horovod_variables,
    place_in_step,
    place_on_this_host,
    thread_variables,
)
from bigearth_tf.launch.rendezvous import Launcher
from bigearth_tf.runtime import error_file
from bigearth_tf.runtime.exit_codes import EXIT_LOST, EXIT_RANKS_DIFFER, EXIT_STOPPED

# How the launcher speaks to its tasks: variables of their environment.
ADDRESS, PORT, SCOPE = "BIGEARTH_LAUNCH_ADDRESS", "BIGEARTH_LAUNCH_PORT", "BIGEARTH_LAUNCH_SCOPE"
LOG_DIR, FAIL_WITHIN_S, INTERFACE = "BIGEARTH_LAUNCH_LOG_DIR", "BIGEARTH_LAUNCH_FAIL_WITHIN_S", "BIGEARTH_IFACE"
# Where there is no SLURM.
RANK, NUM_RANKS = "BIGEARTH_LAUNCH_RANK", "BIGEARTH_LAUNCH_NUM_RANKS"
# A third of the time goes into noticing, the rest into ending.
NOTICE_SHARE = 1 / 3
_PR_SET_PDEATHSIG = 1


def main(command: Sequence[str]) -> int:
    """Runs a rank; returns its exit code."""
    environ = os.environ
    local = RANK in environ
    place = place_on_this_host(int(environ[RANK]), int(environ[NUM_RANKS])) if local else place_in_step(environ)
    host = host_name()
    launcher = Launcher(environ[ADDRESS], environ[PORT], environ[SCOPE], place.rank)
    reach = _reach(environ[ADDRESS], len(place.tasks_per_node) > 1)
    problem = reach.problem
    log_dir = Path(environ[LOG_DIR])
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = problem or f"{error}; name another folder with --log_dir"
    greeting = {
        "host": host,
        "address": reach.address,
        "device": device_name(place, environ),
        "local_rank": place.local_rank,
        "node": place.node,
        "tasks_per_node": place.tasks_per_node,
        "problem": problem,
        "remark": reach.remark,
    }
    try:
        launcher.put("greeting", greeting)
        orders = _wait_for(launcher, "go", "leave")
    except OSError as error:
        logging.error(
            "launch: rank %d on %s cannot reach the launcher at %s: %s", place.rank, host, environ[ADDRESS], error
        )
        return EXIT_LOST
    if "go" not in orders:
        return EXIT_RANKS_DIFFER
    try:
        watched = _Watched(command, _environ(place, host, reach.interface), place, launcher)
    except OSError as error:
        launcher.put("ending", {"code": 127, "message": f"{shlex.join(command)}: {error}", "knock_on": False})
        return 127
    return watched.run(log_dir)


def _environ(place: Place, host: str, interface: str) -> dict[str, str]:
    """Returns the command's variables: those of this process, without what would mislead Horovod, and Horovod's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PMI_", "PMIX_", "OMPI_"))}
    return {
        **thread_variables(place, os.environ),
        "NCCL_SOCKET_IFNAME": f"={interface}",
        # The launcher notices a lost peer sooner.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(int(float(kept[FAIL_WITHIN_S]))),
        "PYTHONUNBUFFERED": "1",
        # What stands above may be set by the user; what follows may not.
        **kept,
        **horovod_variables(place, host, interface),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": kept[ADDRESS],
        "HOROVOD_GLOO_RENDEZVOUS_PORT": kept[PORT],
    }


def _wait_for(launcher: Launcher, *wanted: str) -> dict[str, Any]:
    """Returns the orders as soon as one of those wanted is among them."""
    while True:
        orders = launcher.orders()
        if orders.keys() & set(wanted):
            return orders
        time.sleep(0.2)


class _Reach(NamedTuple):
    """By which interface and address the other nodes reach this one, or why they cannot, and what is to be known."""

    interface: str = ""
    address: str = ""
    problem: str = ""
    remark: str = ""


def _reach(launcher_address: str, several_nodes: bool) -> _Reach:
    named = os.environ.get(INTERFACE)
    try:
        address = network.address_of(named) if named and several_nodes else network.source_address(launcher_address)
        interface = named if named and several_nodes else network.interface_of(address)
    except (OSError, ValueError) as error:
        return _Reach(problem=f"{error}{f'; {INTERFACE} in slurm/env.sh names it' if named else ''}")
    problem, remark = network.own_name_problem(address) if several_nodes else ("", "")
    return _Reach(interface, address, problem, remark)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Watched:
    """The command's process and what is known of it."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], place: Place, launcher: Launcher) -> None:
        self._place, self._launcher, self._fail_within_s = place, launcher, float(environ[FAIL_WITHIN_S])
        self._notice_s = self._fail_within_s * NOTICE_SHARE
        self._errors = tempfile.TemporaryDirectory(prefix="bigearth_launch_")
        self._error_file = Path(self._errors.name) / "error.json"
        self._last_line = b"said nothing"
        self._passed_on: set[int] = set()
        self._process = subprocess.Popen(
            command,
            env={**environ, error_file.PATH_VARIABLE: str(self._error_file)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there is no other thread yet
        )

    def run(self, log_dir: Path) -> int:
        """Watches until the process has ended; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._pass_on)
        with (log_dir / f"rank-{self._place.rank}.log").open("ab") as log:
            pump = threading.Thread(target=self._copy_output, args=(log,), daemon=True)
            pump.start()
            reason = self._watch()
            pump.join(timeout=5)
        return self._report(reason)

    def _pass_on(self, number: int, _: FrameType | None = None) -> None:
        self._passed_on.add(number)
        self._process.send_signal(number)

    def _copy_output(self, log: BinaryIO) -> None:
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, b""):
            log.write(line)
            log.flush()
            if self._place.rank == 0:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            self._last_line = line.strip() or self._last_line

    def _watch(self) -> str:
        """Returns why the process was ended here, or "" where it ended by itself."""
        asked = moved = time.monotonic()
        while True:
            try:
                self._process.wait(timeout=min(1.0, self._notice_s / 5))
                return ""
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            if not self._is_frozen():
                moved = now
            elif now - moved > self._notice_s:
                self._end(stacks=False)
                return f"frozen: its process was stopped (SIGSTOP) for {now - moved:.0f} s"
            try:
                orders = self._launcher.orders()
                asked = now
            except OSError as error:
                if now - asked > self._notice_s:
                    self._end(stacks=False)
                    return f"lost the launcher, not heard of for {now - asked:.0f} s: {error}"
                continue
            self._obey(orders)

    def _obey(self, orders: dict[str, Any]) -> None:
        """Passes a signal on, once; ends the process where another rank has failed."""
        if "signal" in orders and orders["signal"] not in self._passed_on:
            self._pass_on(orders["signal"])
        if orders.get("abort"):
            try:
                # Most end by themselves, having lost a peer, and say so.
                self._process.wait(timeout=self._fail_within_s / 12)
            except subprocess.TimeoutExpired:
                self._end(stacks=True)

    def _end(self, stacks: bool) -> None:
        if stacks:
            self._process.send_signal(signal.SIGUSR2)  # Where the command shows the stacks of its threads; see runtime.
            time.sleep(1.0)
        self._process.kill()
        self._process.wait()

    def _is_frozen(self) -> bool:
        try:
            status = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] in "Tt"

    def _report(self, reason: str) -> int:
        """Says how the process ended, and waits until that was noted; returns the exit code."""
        code = self._process.returncode
        code = EXIT_LOST if reason else 128 - code if code < 0 else code
        message, knock_on = error_file.read_error(self._error_file)
        self._errors.cleanup()
        if reason:
            message, knock_on = reason, reason.startswith("lost the launcher")
        elif -self._process.returncode in self._passed_on:
            # Asked to stop before it listened for that, or where it does not: the same command goes on.
            code = EXIT_STOPPED
        elif not message and self._process.returncode < 0:
            message = f"killed by {signal.Signals(-self._process.returncode).name}"
            # Horovod's start aborts the process where a peer is gone.
            knock_on = -self._process.returncode == signal.SIGABRT
        elif not message and code:
            message = f"exit code {code}: {self._last_line.decode(errors='replace')}"
        try:
            self._launcher.put("ending", {"code": code, "message": message, "knock_on": knock_on})
            if code:
                # srun ends all tasks when one fails: not before the others have shown where they stood.
                _wait_for(self._launcher, "leave")
        except OSError:
            pass
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
