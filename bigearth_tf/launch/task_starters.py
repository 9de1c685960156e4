"""Two ways to start one task for each rank: by srun on the nodes of a SLURM job, or as processes of this host."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from bigearth_tf.launch import network, slurm_job, task
from bigearth_tf.launch.layout import expand_counts
from bigearth_tf.launch.messages import TaskSettings
from bigearth_tf.runtime.children import start_child


class TaskStarter(Protocol):
    """A way to start the tasks.

    Attributes:
        num_ranks: Number of ranks; None if only the tasks know it.
        hosts: Names of the hosts, of which single ones may be lost; empty for ranks on this host.
    """

    num_ranks: int | None
    hosts: Sequence[str]

    def find_address(self) -> str:
        """Returns the address at which the tasks reach the launcher."""

    def start_tasks(self, settings: TaskSettings) -> list[subprocess.Popen]:
        """Starts the tasks; returns the processes to wait for."""

    def suspend_with(self, tasks: Sequence[subprocess.Popen]) -> AbstractContextManager[None]:
        """Returns a context in which Ctrl+Z (SIGTSTP) suspends the tasks together with this process, where it can."""

    def is_reachable(self, host: str) -> bool:
        """Returns whether a host can be reached now."""


def _task_command(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "bigearth_tf.launch.task", *command]


class LocalStarter:
    """Starts N ranks as processes of this host."""

    num_ranks: int | None
    hosts: Sequence[str] = ()

    def __init__(self, command: Sequence[str], num_ranks: int) -> None:
        """Takes the command of each rank, and the number of ranks."""
        self._command, self.num_ranks = command, num_ranks

    def find_address(self) -> str:
        """Returns the address of the loopback interface."""
        return "127.0.0.1"

    def start_tasks(self, settings: TaskSettings) -> list[subprocess.Popen]:
        """Starts one process per rank."""
        num_ranks = self.num_ranks or 1
        environ = {**os.environ, **settings.to_environ(), task.NUM_RANKS_VARIABLE: str(num_ranks)}
        return [
            start_child(
                _task_command(self._command),
                number=signal.SIGTERM,  # The task passes it on, and its rank saves.
                env={**environ, task.RANK_VARIABLE: str(rank)},
                start_new_session=True,  # Ctrl+C reaches only the launcher, which asks the ranks to save.
            )
            for rank in range(num_ranks)
        ]

    @contextlib.contextmanager
    def suspend_with(self, tasks: Sequence[subprocess.Popen]) -> Iterator[None]:
        """Suspends the tasks together with this process; each is the first of a group, to which its rank belongs."""

        def send(number: signal.Signals) -> None:
            for process in tasks:
                if process.poll() is None:
                    os.killpg(process.pid, number)

        def suspend(*_: object) -> None:
            send(signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            send(signal.SIGCONT)  # This line runs when a shell's `fg` has continued this process.

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTSTP, suspend)
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, before)

    def is_reachable(self, host: str) -> bool:
        """Returns True: this host can always be reached."""
        return True


class SrunStarter:
    """Starts one rank per task of a SLURM job, on all of its nodes or on some."""

    def __init__(
        self,
        command: Sequence[str],
        options: Sequence[str] = (),
        nodes: Sequence[str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Takes the command, and the nodes to start it on.

        Args:
            command: Command of each rank.
            options: Further options of srun.
            nodes: Names of the nodes to start on, with as many tasks on each as the job has on its first node; None for
                the layout of the job.
            environ: Variables of the job.
        """
        self._command, self._environ = command, environ
        self.hosts: Sequence[str] = list(nodes or list_job_nodes(environ))
        self.num_ranks = None
        per_node = environ.get("SLURM_NTASKS_PER_NODE")
        layout: list[str] = []
        if nodes:
            per_node = per_node or str(expand_counts(environ["SLURM_TASKS_PER_NODE"])[0])
            self.num_ranks = int(per_node) * len(self.hosts)
            layout += [f"--nodes={len(self.hosts)}", f"--nodelist={','.join(self.hosts)}"]
            layout.append("--overlap")  # On a node that was lost, SLURM may not have ended the previous step yet.
        elif per_node:
            self.num_ranks = _count_tasks(int(per_node), len(self.hosts), environ)
        if self.num_ranks:
            layout += [f"--ntasks={self.num_ranks}", f"--ntasks-per-node={per_node}"]
        # The user's options come last and take precedence.
        self._options = [*layout, *options]

    def find_address(self) -> str:
        """Returns the address at which the other nodes reach this one."""
        here = self._environ.get("SLURMD_NODENAME")
        others = [node for node in self.hosts if node != here]
        if not others:
            return "127.0.0.1"
        named = self._environ.get(network.INTERFACE_VARIABLE)
        return (
            network.find_interface_address(named)
            if named
            else network.find_source_address(network.find_node_address(others[0]))
        )

    def start_tasks(self, settings: TaskSettings) -> list[subprocess.Popen]:
        """Starts srun."""
        srun = [shutil.which("srun") or "srun", "--mpi=none", "--kill-on-bad-exit=1", "--export=ALL"]
        if cores := self._environ.get("SLURM_CPUS_PER_TASK"):
            srun.append(f"--cpus-per-task={cores}")  # From 22.05 on srun does not take it from sbatch.
        command = [*srun, *self._options, *_task_command(self._command)]
        return [start_child(command, number=signal.SIGTERM, env={**os.environ, **settings.to_environ()})]

    def suspend_with(self, tasks: Sequence[subprocess.Popen]) -> AbstractContextManager[None]:
        """Returns a context without effect: SLURM suspends all processes of a job by `scontrol suspend`."""
        return contextlib.nullcontext()

    def is_reachable(self, host: str) -> bool:
        """Returns whether a step can run on a node now."""
        return slurm_job.can_run_step_on(host)


def _count_tasks(per_node: int, num_nodes: int, environ: Mapping[str, str]) -> int:
    """Returns the number of tasks of a job that was submitted with --ntasks-per-node, and perhaps with --ntasks.

    A job that got other nodes when it was queued again still has its old number of tasks in SLURM_NTASKS.
    """
    stated, full = int(environ.get("SLURM_NTASKS", sys.maxsize)), per_node * num_nodes
    may_be_old = "SLURM_RESTART_COUNT" in environ and stated % per_node == 0
    return full if may_be_old else min(stated, full)


def list_job_nodes(environ: Mapping[str, str]) -> list[str]:
    """Returns the names of the nodes of a SLURM job, in the order of the job.

    Raises:
        OSError: SLURM does not respond.
    """
    command = ["scontrol", "show", "hostnames", environ["SLURM_JOB_NODELIST"]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout.split()
