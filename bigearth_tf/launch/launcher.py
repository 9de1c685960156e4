"""How does a launch go? All ranks greet, all start together, and the first that fails ends the others and is named."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from absl import logging

from bigearth_tf.launch.layout import Place
from bigearth_tf.launch.rendezvous import Rendezvous
from bigearth_tf.launch.start import Start
from bigearth_tf.launch.task import NOTICE_SHARE
from bigearth_tf.runtime.exit_codes import EXIT_LOST, EXIT_RANKS_DIFFER, EXIT_STOPPED
from bigearth_tf.runtime.stop_signal import StopSignal

# What the ranks say of a failure arrives within moments of each other; the first to arrive need not be the cause.
_GATHER_S = 2.0
# Ranks that were asked to save and end get so long. In validation they look for no such wish, and have saved before.
# Batch scripts ask SLURM for their signal 180 s before the end, and it may come a minute earlier.
_STOP_WITHIN_S = 120.0


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
        self._stop_signal, self._asked_at = stop_signal, 0.0

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
        self._asked_at = time.monotonic()
        self._rendezvous.order(signal=int(signal.SIGUSR1))

    def _obey_signals(self) -> None:
        if self._stop_signal.received and not self._asked_at:
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
                cause = f"only {missing} {waited}: {here}. The output above may say why."
                silent = set(self._start.hosts) - {said["host"] for said in greetings.values()}
                return Outcome(EXIT_LOST, cause, self._unreachable(sorted(silent)))
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
        for remark in dict.fromkeys(said["remark"] for said in greetings.values() if said["remark"]):
            logging.warning("launch: %s", remark)

    def _watch(self, tasks: list[subprocess.Popen]) -> Outcome:
        """Returns how the ranks ended, as soon as one has failed or all have ended."""
        rendezvous = self._rendezvous
        over_at = None
        while True:
            self._obey_signals()
            with rendezvous.changed:
                rendezvous.changed.wait(0.2)
                endings, lost = dict(rendezvous.endings), self._lost()
            failed = {rank: said for rank, said in endings.items() if not self._has_ended_well(said)}
            if len(endings) == len(rendezvous.greetings) and not failed:
                return self._all_ended(endings)
            if self._stop_signal.received and 0 < self._asked_at < time.monotonic() - _STOP_WITHIN_S:
                return self._stopped(f"some ranks had not within {_STOP_WITHIN_S:.0f} s and were ended as they were")
            # srun may end with 0 where a node has failed: only what the ranks themselves said counts.
            ended = all(task.poll() is not None for task in tasks)
            if not failed and not lost and not ended:
                continue
            over_at = over_at or time.monotonic()
            waited_s = time.monotonic() - over_at
            if waited_s > _GATHER_S and (lost or ended or self._is_cause_known(failed, waited_s)):
                return self._explain(failed, lost, tasks)

    def _has_ended_well(self, said: dict) -> bool:
        """Tells whether a rank is done, or has stopped as asked: or lost one that was, before either could save."""
        return said["code"] in (0, EXIT_STOPPED) or bool(self._asked_at and said["knock_on"])

    def _all_ended(self, endings: dict) -> Outcome:
        if any(said["code"] for said in endings.values()):
            return self._stopped("the same command goes on")
        return Outcome(0, "all ranks are done")

    def _stopped(self, remark: str) -> Outcome:
        by = self._stop_signal.received or ""
        return Outcome(EXIT_STOPPED, f"asked to stop{f' ({by})' if by else ''}; {remark}", stopped_by=by)

    def _lost(self) -> tuple[int, ...]:
        """Returns the ranks that have neither ended nor been heard of for long."""
        oldest = time.monotonic() - self._fail_within_s * NOTICE_SHARE
        heard, endings = self._rendezvous.heard, self._rendezvous.endings
        return tuple(rank for rank, when in sorted(heard.items()) if rank not in endings and when < oldest)

    def _is_cause_known(self, failed: dict, waited_s: float) -> bool:
        """Tells whether what is known so far is the cause, or only what follows from one that is yet to be noticed."""
        own = any(not said["knock_on"] for said in failed.values())
        return own or waited_s > self._fail_within_s * NOTICE_SHARE + _GATHER_S

    def _explain(self, failed: dict, lost: tuple[int, ...], tasks: list[subprocess.Popen]) -> Outcome:
        """Returns the outcome that names the first cause: a rank's own failure, else a lost rank, else a knock-on."""
        greetings, endings = self._rendezvous.greetings, self._rendezvous.endings
        codes = [task.poll() for task in tasks]
        silent = lost or tuple(rank for rank in greetings if rank not in endings and None not in codes)
        own = [rank for rank, said in failed.items() if not said["knock_on"]]
        if own or not silent:
            rank = (own or list(failed))[0]
            log = self._log_dir / f"rank-{rank}.log"
            cause = f"rank {rank} on {greetings[rank]['host']} failed first: {failed[rank]['message']}; its log: {log}"
            return Outcome(failed[rank]["code"], cause)
        hosts = tuple(dict.fromkeys(greetings[rank]["host"] for rank in silent))
        ranks = ", ".join(f"rank {rank} on {greetings[rank]['host']}" for rank in silent)
        if lost:
            silent_s = self._fail_within_s * NOTICE_SHARE
            return Outcome(
                EXIT_LOST, f"{ranks} not heard of for {silent_s:.0f} s: the node or its network is lost", hosts
            )
        code = max(128 - code if code < 0 else code for code in codes if code is not None)
        cause = f"{ranks} ended without a word (exit code {code}): killed, as for want of memory?"
        return Outcome(EXIT_LOST, cause, self._unreachable(hosts))

    def _unreachable(self, hosts: Sequence[str]) -> tuple[str, ...]:
        with ThreadPoolExecutor(max_workers=32) as pool:
            return tuple(host for host, answers in zip(hosts, pool.map(self._start.answers, hosts)) if not answers)

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
