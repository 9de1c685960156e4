"""One launch of a command: all ranks start together, and the first failure ends them all and is reported."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from absl import logging

from bigearth_tf.launch.messages import Ending, Greeting, TaskSettings
from bigearth_tf.launch.rank_process import NOTICE_SHARE
from bigearth_tf.launch.server import LaunchServer
from bigearth_tf.launch.task_starters import TaskStarter
from bigearth_tf.runtime.exit_codes import EXIT_BY_SIGNAL, EXIT_LOST, EXIT_RANKS_DIFFER, EXIT_STOPPED
from bigearth_tf.runtime.stop_signal import StopSignal

# Reports of one failure arrive within moments of each other, and the first to arrive need not be the cause.
_GATHER_S = 2.0
# Time for ranks to save and end. During validation a rank does not check for a stop signal; it saved its state before.
# Batch scripts ask SLURM for a signal 180 s before the end; the signal may come a minute earlier.
_STOP_WITHIN_S = 120.0
_INTERRUPTED = "interrupted again; all ranks were ended, and the same command resumes from the latest checkpoint"


class Outcome(NamedTuple):
    """How a launch ended: its exit code, the reason, the hosts that were lost, the signal that it received."""

    code: int
    cause: str
    lost_hosts: tuple[str, ...] = ()
    stopped_by: str = ""


class Launch:
    """One launch of a command on all ranks."""

    def __init__(
        self, starter: TaskStarter, log_dir: Path, start_timeout_s: float, fail_within_s: float, stop_signal: StopSignal
    ) -> None:
        """Starts the server for the tasks, but no task.

        Args:
            starter: Starts the tasks.
            log_dir: Folder for the log of each rank; shared by all nodes.
            start_timeout_s: Time within which all ranks must greet.
            fail_within_s: Time within which a failure of one rank ends the job.
            stop_signal: Must be listening; when it receives a signal, all ranks are asked to stop.

        Raises:
            RuntimeError: Horovod is not installed.
        """
        self._starter, self._log_dir = starter, log_dir
        self._start_timeout_s, self._fail_within_s = start_timeout_s, fail_within_s
        self._notice_s = fail_within_s * NOTICE_SHARE
        self._server = LaunchServer()
        self._stop_signal = stop_signal
        self._stop_ordered_s: float | None = None
        self._tasks: list[subprocess.Popen] = []

    def run(self) -> Outcome:
        """Starts the tasks and returns how they ended; no reachable task is left running."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        address, server = self._starter.find_address(), self._server
        settings = TaskSettings(address, server.port, server.scope, self._log_dir.absolute(), self._fail_within_s)
        self._tasks = self._starter.start_tasks(settings)
        try:
            try:
                with self._starter.suspend_with(self._tasks):
                    outcome = self._wait_for_greetings() or self._wait_for_endings()
            except KeyboardInterrupt:  # The second Ctrl+C.
                outcome = Outcome(EXIT_BY_SIGNAL + signal.SIGINT, _INTERRUPTED, stopped_by="SIGINT")
            self._end_tasks(outcome)
        finally:
            for task in self._tasks:
                if task.poll() is None:
                    task.terminate()
            self._server.close()
        return outcome

    def stop(self) -> None:
        """Asks all ranks to save and end."""
        self._stop_ordered_s = self._server.clock.seconds
        self._server.order(signal=int(signal.SIGUSR1))

    def _wait_for_greetings(self) -> Outcome | None:
        """Lets the ranks run their command when all have greeted; returns an outcome if they cannot start."""
        server, started_s = self._server, self._server.clock.tick()
        refused_s: float | None = None
        while True:
            with server.changed:
                server.changed.wait(0.2)
                greetings = dict(sorted(server.greetings.items()))
            expected = next(iter(greetings.values())).place.world_size if greetings else None
            problems = [
                f"rank {rank} on {greeting.host}: {greeting.problem}"
                for rank, greeting in greetings.items()
                if greeting.problem
            ]
            now_s = server.clock.tick()
            if problems:
                refused_s = now_s if refused_s is None else refused_s
                if len(greetings) == expected or now_s - refused_s > _GATHER_S:
                    return Outcome(EXIT_RANKS_DIFFER, "\nlaunch: ".join(problems))
            elif len(greetings) == expected:
                server.announce_ranks(greetings)
                self._log_layout(greetings, now_s - started_s)
                server.order(go=True)
                return None
            if self._stop_signal.received or self._have_tasks_ended() or now_s > started_s + self._start_timeout_s:
                return self._explain_missing_ranks(greetings, expected, now_s - started_s)

    def _explain_missing_ranks(
        self, greetings: Mapping[int, Greeting], expected: int | None, waited_s: float
    ) -> Outcome:
        if stopped_by := self._stop_signal.received:
            return Outcome(EXIT_STOPPED, f"stopped by {stopped_by} before all ranks had started", stopped_by=stopped_by)
        started = f"{len(greetings)} of {expected or self._starter.num_ranks or 'the'} ranks have started"
        which = ", ".join(f"{rank} on {greeting.host}" for rank, greeting in greetings.items()) or "none"
        limit = f"within {waited_s:.0f} s (--start_timeout={self._start_timeout_s:g})"
        silent = set(self._starter.hosts) - {greeting.host for greeting in greetings.values()}
        cause = f"only {started} {limit}: {which}. The output above may say why."
        return Outcome(EXIT_LOST, cause, self._find_unreachable(sorted(silent)))

    def _log_layout(self, greetings: Mapping[int, Greeting], seconds: float) -> None:
        logging.info(
            "launch: %d ranks are up after %.1f s; their output is in %s", len(greetings), seconds, self._log_dir
        )
        by_host: dict[str, list[str]] = {}
        for rank, greeting in greetings.items():
            by_host.setdefault(f"{greeting.host} ({greeting.address})", []).append(f"rank {rank} on {greeting.device}")
        for host, ranks in by_host.items():
            logging.info("launch:   %s: %s", host, ", ".join(ranks))
        for remark in dict.fromkeys(greeting.remark for greeting in greetings.values() if greeting.remark):
            logging.warning("launch: %s", remark)

    def _wait_for_endings(self) -> Outcome:
        """Returns how the ranks ended, as soon as one has failed or all have ended."""
        server = self._server
        noticed_s: float | None = None
        while True:
            if self._stop_signal.received and self._stop_ordered_s is None:
                logging.info("launch: got %s; asking all ranks to save and end", self._stop_signal.received)
                self.stop()
            with server.changed:
                server.changed.wait(0.2)
                now_s = server.clock.tick()
                endings, lost = dict(server.endings), self._find_lost_ranks()
            failed = {rank: ending for rank, ending in endings.items() if not self._has_ended_well(ending)}
            if len(endings) == len(server.greetings) and not failed:
                if any(ending.code for ending in endings.values()):
                    return self._make_stopped_outcome("the same command resumes the run")
                return Outcome(0, "all ranks are done")
            stop_s = self._stop_ordered_s
            if self._stop_signal.received and stop_s is not None and now_s > stop_s + _STOP_WITHIN_S:
                return self._make_stopped_outcome(
                    f"some ranks did not stop within {_STOP_WITHIN_S:.0f} s and were ended"
                )
            # srun may end with 0 although a node has failed: only the endings that the ranks sent count.
            ended = self._have_tasks_ended()
            if not failed and not lost and not ended:
                continue
            noticed_s = now_s if noticed_s is None else noticed_s
            waited_s = now_s - noticed_s
            if waited_s > _GATHER_S and (lost or ended or self._is_cause_known(failed, waited_s)):
                return self._explain_failure(failed, lost)

    def _have_tasks_ended(self) -> bool:
        return all(task.poll() is not None for task in self._tasks)

    def _has_ended_well(self, ending: Ending) -> bool:
        """Returns whether a rank is done, has stopped as asked, or lost another rank that had stopped as asked."""
        return ending.code in (0, EXIT_STOPPED) or (self._stop_ordered_s is not None and ending.is_consequence)

    def _make_stopped_outcome(self, remark: str) -> Outcome:
        by = self._stop_signal.received or ""
        return Outcome(EXIT_STOPPED, f"asked to stop{f' ({by})' if by else ''}; {remark}", stopped_by=by)

    def _find_lost_ranks(self) -> tuple[int, ...]:
        """Returns the ranks that have not ended and have been silent for too long."""
        oldest_s = self._server.clock.seconds - self._notice_s
        last_seen, endings = self._server.last_seen, self._server.endings
        return tuple(rank for rank, when in sorted(last_seen.items()) if rank not in endings and when < oldest_s)

    def _is_cause_known(self, failed: Mapping[int, Ending], waited_s: float) -> bool:
        """Returns whether a rank has failed by itself, or another cause would have been noticed by now."""
        return not all(ending.is_consequence for ending in failed.values()) or waited_s > self._notice_s + _GATHER_S

    def _explain_failure(self, failed: Mapping[int, Ending], lost: tuple[int, ...]) -> Outcome:
        """Returns the first cause: a rank that failed by itself, else a lost rank, else a consequence."""
        greetings, endings = self._server.greetings, self._server.endings
        codes = [task.poll() for task in self._tasks]
        silent = lost or tuple(rank for rank in greetings if rank not in endings and None not in codes)
        own = [rank for rank, ending in failed.items() if not ending.is_consequence]
        if own or not silent:
            rank = (own or list(failed))[0]
            where, log = f"rank {rank} on {greetings[rank].host}", self._log_dir / f"rank-{rank}.log"
            return Outcome(failed[rank].code, f"{where} failed first: {failed[rank].message}; its log: {log}")
        hosts = tuple(dict.fromkeys(greetings[rank].host for rank in silent))
        ranks = ", ".join(f"rank {rank} on {greetings[rank].host}" for rank in silent)
        if lost:
            cause = f"{ranks} silent for {self._notice_s:.0f} s: the node or its network is lost"
            return Outcome(EXIT_LOST, cause, hosts)
        code = max(EXIT_BY_SIGNAL - code if code < 0 else code for code in codes if code is not None)
        cause = f"{ranks} ended without a message (exit code {code}): killed, perhaps for lack of memory"
        return Outcome(EXIT_LOST, cause, self._find_unreachable(hosts))

    def _find_unreachable(self, hosts: Collection[str]) -> tuple[str, ...]:
        with ThreadPoolExecutor(max_workers=32) as pool:
            return tuple(host for host, is_up in zip(hosts, pool.map(self._starter.is_reachable, hosts)) if not is_up)

    def _end_tasks(self, outcome: Outcome) -> None:
        """Ends the tasks that still run, after each has had time to show the stacks of its rank."""
        server, end = self._server, time.monotonic() + self._notice_s
        if outcome.code:
            server.order(abort=True)
        started: Sequence[int] = list(server.greetings) if server.orders.go else []
        while time.monotonic() < end and outcome.code not in (0, EXIT_STOPPED):
            server.clock.tick()
            with server.changed:
                if set(started) <= set(server.endings) | set(self._find_lost_ranks()):
                    break
                server.changed.wait(0.2)
        server.order(leave=True)
        for task in self._tasks:
            try:
                task.wait(timeout=max(1.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                task.terminate()
