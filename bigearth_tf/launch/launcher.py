"""How does a launch go? All ranks greet, all start together, and the first that fails ends the others and is named."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from absl import logging

from bigearth_tf.launch.layout import Place
from bigearth_tf.launch.rendezvous import Rendezvous
from bigearth_tf.launch.start import Start
from bigearth_tf.launch.task import EXIT_LOST, NOTICE_SHARE
from bigearth_tf.stop_signal import EXIT_STOPPED, StopSignal
from bigearth_tf.together import EXIT_RANKS_DIFFER

# What the ranks say of a failure arrives within moments of each other; the first to arrive need not be the cause.
_GATHER_S = 2.0


class Outcome(NamedTuple):
    """How a launch ended: its exit code, the line that says why, the hosts lost, the signal that the launcher got."""

    code: int
    cause: str
    lost_hosts: tuple[str, ...] = ()
    stopped_by: str = ""


class Launch:
    """One launch of a command on all ranks."""

    def __init__(
        self, start: Start, log_dir: Path, start_timeout_s: float, fail_within_s: float, stop_signal: StopSignal
    ) -> None:
        """Nothing is started yet.

        Args:
            start: How the tasks are started.
            log_dir: Folder for the output of each rank; shared by all nodes.
            start_timeout_s: Within which all ranks must greet.
            fail_within_s: Within which a failure of one ends the job.
            stop_signal: Listening; what it receives is passed on to all ranks.
        """
        self._start, self._log_dir = start, log_dir
        self._start_timeout_s, self._fail_within_s = start_timeout_s, fail_within_s
        self._rendezvous = Rendezvous()
        self._stop_signal, self._has_obeyed = stop_signal, False

    def run(self) -> Outcome:
        """Starts the tasks and returns how they ended; none is left running where that can be reached."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        tasks = self._start.tasks(self._rendezvous.port, self._rendezvous.scope, self._log_dir, self._fail_within_s)
        try:
            outcome = self._gather(tasks) or self._watch(tasks)
            self._end(tasks, outcome)
        finally:
            for task in tasks:
                if task.poll() is None:
                    task.terminate()
            self._rendezvous.close()
        return outcome

    def stop(self) -> None:
        """Asks all ranks to save and end."""
        self._rendezvous.order(signal=int(signal.SIGUSR1))

    def _obey_signals(self) -> None:
        if self._stop_signal.received and not self._has_obeyed:
            self._has_obeyed = True
            logging.info("launch: got %s; asking all ranks to save and end", self._stop_signal.received)
            self.stop()

    def _gather(self, tasks: list[subprocess.Popen]) -> Outcome | None:
        """Lets the ranks go when all have greeted; returns an outcome where they cannot."""
        rendezvous, end, begun = self._rendezvous, time.monotonic() + self._start_timeout_s, time.monotonic()
        greetings, refused_at = rendezvous.greetings, None
        while True:
            with rendezvous.changed:
                rendezvous.changed.wait(0.2)
                expected = sum(next(iter(greetings.values()))["tasks_per_node"]) if greetings else None
            problems = [
                f"rank {rank} on {said['host']}: {said['problem']}"
                for rank, said in sorted(greetings.items())
                if said["problem"]
            ]
            if problems:
                refused_at = refused_at or time.monotonic()
                if len(greetings) == expected or time.monotonic() - refused_at > _GATHER_S:
                    return Outcome(EXIT_RANKS_DIFFER, "\nlaunch: ".join(problems))
            elif len(greetings) == expected:
                break
            if self._stopped_early(tasks) or time.monotonic() > end:
                missing = f"{len(greetings)} of {expected or self._start.num_ranks or 'the'} ranks have started"
                if stopped_by := self._stop_signal.received:
                    cause = f"stopped by {stopped_by} before all ranks had started"
                    return Outcome(EXIT_STOPPED, cause, stopped_by=stopped_by)
                here = ", ".join(f"{rank} on {said['host']}" for rank, said in sorted(greetings.items())) or "none"
                waited = f"within {time.monotonic() - begun:.0f} s (--start_timeout={self._start_timeout_s:g})"
                return Outcome(EXIT_LOST, f"only {missing} {waited}: {here}. The output above may say why.")
        places = {
            rank: Place(rank, said["local_rank"], said["node"], tuple(said["tasks_per_node"]))
            for rank, said in greetings.items()
        }
        rendezvous.plan(places, {rank: said["host"] for rank, said in greetings.items()})
        self._show_layout(time.monotonic() - begun)
        rendezvous.order(go=True)
        return None

    def _stopped_early(self, tasks: list[subprocess.Popen]) -> bool:
        return bool(self._stop_signal.received) or all(task.poll() is not None for task in tasks)

    def _show_layout(self, seconds: float) -> None:
        greetings = self._rendezvous.greetings
        logging.info(
            "launch: %d ranks are up after %.1f s; their output is in %s", len(greetings), seconds, self._log_dir
        )
        by_host: dict[str, list[str]] = {}
        for rank, said in sorted(greetings.items()):
            by_host.setdefault(f"{said['host']} ({said['address']})", []).append(f"rank {rank} on {said['device']}")
        for host, ranks in by_host.items():
            logging.info("launch:   %s: %s", host, ", ".join(ranks))

    def _watch(self, tasks: list[subprocess.Popen]) -> Outcome:
        """Returns how the ranks ended, as soon as one has failed or all have ended."""
        rendezvous = self._rendezvous
        failed_at = None
        while True:
            self._obey_signals()
            with rendezvous.changed:
                rendezvous.changed.wait(0.2)
                endings, lost = dict(rendezvous.endings), self._lost()
            codes = {ending["code"] for ending in endings.values()}
            if len(endings) == len(rendezvous.greetings) and codes <= {0, EXIT_STOPPED}:
                stopped_by = self._stop_signal.received or ""
                stopped = f"asked to stop ({stopped_by}); the same command goes on"
                return Outcome(max(codes), stopped if max(codes) else "all ranks are done", stopped_by=stopped_by)
            failed = {rank: said for rank, said in endings.items() if said["code"] not in (0, EXIT_STOPPED)}
            if all(task.poll() is not None for task in tasks) and not failed:
                # srun may say 0 where a node has failed: only what the ranks themselves said counts.
                lost = lost or tuple(rank for rank in rendezvous.greetings if rank not in endings)
            if not failed and not lost:
                continue
            failed_at = failed_at or time.monotonic()
            if self._is_cause_known(failed, lost, time.monotonic() - failed_at):
                return self._explain(failed, lost)

    def _lost(self) -> tuple[int, ...]:
        """Returns the ranks that have neither ended nor been heard of for long."""
        oldest = time.monotonic() - self._fail_within_s * NOTICE_SHARE
        heard, endings = self._rendezvous.heard, self._rendezvous.endings
        return tuple(rank for rank, when in sorted(heard.items()) if rank not in endings and when < oldest)

    def _is_cause_known(self, failed: dict, lost: tuple[int, ...], waited_s: float) -> bool:
        """Tells whether what is known so far is the cause, or only what follows from one that is yet to be noticed."""
        if lost or any(not said["knock_on"] for said in failed.values()):
            return waited_s > _GATHER_S
        return waited_s > self._fail_within_s * NOTICE_SHARE + _GATHER_S

    def _explain(self, failed: dict, lost: tuple[int, ...]) -> Outcome:
        """Returns the outcome that names the first cause: a rank's own failure, else a lost rank, else a knock-on."""
        greetings = self._rendezvous.greetings
        own = [rank for rank, said in failed.items() if not said["knock_on"]]
        if not own and lost:
            hosts = tuple(dict.fromkeys(greetings[rank]["host"] for rank in lost))
            ranks = ", ".join(f"rank {rank} on {greetings[rank]['host']}" for rank in lost)
            silent_s = self._fail_within_s * NOTICE_SHARE
            return Outcome(
                EXIT_LOST, f"{ranks} not heard of for {silent_s:.0f} s: the node or its network is lost", hosts
            )
        rank = (own or list(failed))[0]
        log = self._log_dir / f"rank-{rank}.log"
        cause = f"rank {rank} on {greetings[rank]['host']} failed first: {failed[rank]['message']}; its log: {log}"
        return Outcome(failed[rank]["code"], cause)

    def _end(self, tasks: list[subprocess.Popen], outcome: Outcome) -> None:
        """Ends what still runs, after every rank that can has shown where it stands."""
        rendezvous = self._rendezvous
        if outcome.code:
            rendezvous.order(abort=True)
        end = time.monotonic() + self._fail_within_s * NOTICE_SHARE
        started = [rank for rank in rendezvous.greetings if "go" in rendezvous.orders]
        while time.monotonic() < end and outcome.code not in (0, EXIT_STOPPED):
            with rendezvous.changed:
                if set(started) <= set(rendezvous.endings) | set(self._lost()):
                    break
                rendezvous.changed.wait(0.2)
        rendezvous.order(leave=True)
        for task in tasks:
            try:
                task.wait(timeout=max(1.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                task.terminate()
