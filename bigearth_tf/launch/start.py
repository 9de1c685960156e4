"""How are the tasks of a launch started? By srun on the nodes of a SLURM job, or as processes of this host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bigearth_tf.launch import network, slurm_job, task
from bigearth_tf.launch.layout import expand_counts


class Start(Protocol):
    """A way to start the tasks."""

    # How many there will be; None where only the tasks know.
    num_ranks: int | None
    # Those of several that may be lost one by one.
    hosts: Sequence[str]

    def tasks(self, port: int, scope: str, log_dir: Path, fail_within_s: float) -> list[subprocess.Popen]:
        """Starts them, and returns the processes to wait for."""

    def answers(self, host: str) -> bool:
        """Tells whether a host could be reached now."""


def _told(address: str, port: int, scope: str, log_dir: Path, fail_within_s: float) -> dict[str, str]:
    return {
        **os.environ,
        task.ADDRESS: address,
        task.PORT: str(port),
        task.SCOPE: scope,
        task.LOG_DIR: str(log_dir.absolute()),
        task.FAIL_WITHIN_S: str(fail_within_s),
    }


def _command(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "bigearth_tf.launch.task", *command]


class OnThisHost:
    """So many ranks as processes of this host."""

    num_ranks: int | None
    hosts: Sequence[str] = ()

    def __init__(self, command: Sequence[str], num_ranks: int) -> None:
        """Nothing is started yet."""
        self._command, self.num_ranks = command, num_ranks

    def tasks(self, port: int, scope: str, log_dir: Path, fail_within_s: float) -> list[subprocess.Popen]:
        """Starts one process a rank."""
        environ = _told("127.0.0.1", port, scope, log_dir, fail_within_s)
        return [
            subprocess.Popen(
                _command(self._command),
                env={**environ, task.RANK: str(rank), task.NUM_RANKS: str(self.num_ranks)},
                start_new_session=True,  # Ctrl-C is for the launcher, which asks the ranks to save.
            )
            for rank in range(self.num_ranks or 1)
        ]

    def answers(self, host: str) -> bool:
        """Tells that this host can be reached."""
        return True


class BySrun:
    """One rank a task of a SLURM job, on all of its nodes or some."""

    def __init__(
        self,
        command: Sequence[str],
        options: Sequence[str] = (),
        nodes: Sequence[str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Nothing is started yet.

        Args:
            command: What each rank runs.
            options: Further options of srun.
            nodes: Names of the nodes to start on, with as many tasks on each as the job has on its first; None for the
                job's own layout.
            environ: Variables of the job.
        """
        self._command, self._environ = command, environ
        self.hosts: Sequence[str] = list(nodes or job_nodes(environ))
        self.num_ranks = None
        per_node = environ.get("SLURM_NTASKS_PER_NODE")
        layout: list[str] = []
        if nodes:
            per_node = per_node or str(expand_counts(environ["SLURM_TASKS_PER_NODE"])[0])
            self.num_ranks = int(per_node) * len(self.hosts)
            layout += [f"--nodes={len(self.hosts)}", f"--nodelist={','.join(self.hosts)}"]
            layout.append("--overlap")  # The step before may not be gone yet from a node that was lost.
        elif per_node:
            self.num_ranks = _num_tasks(int(per_node), len(self.hosts), environ)
        if self.num_ranks:
            layout += [f"--ntasks={self.num_ranks}", f"--ntasks-per-node={per_node}"]
        # The user's come last, and win.
        self._options = [*layout, *options]

    def tasks(self, port: int, scope: str, log_dir: Path, fail_within_s: float) -> list[subprocess.Popen]:
        """Starts srun."""
        srun = [shutil.which("srun") or "srun", "--mpi=none", "--kill-on-bad-exit=1", "--export=ALL"]
        if cores := self._environ.get("SLURM_CPUS_PER_TASK"):
            srun.append(f"--cpus-per-task={cores}")  # Since 22.05 srun no longer takes it from sbatch.
        command = [*srun, *self._options, *_command(self._command)]
        return [subprocess.Popen(command, env=_told(self._address(), port, scope, log_dir, fail_within_s))]

    def answers(self, host: str) -> bool:
        """Tells whether a step can be run on a node now."""
        return slurm_job.answers(host)

    def _address(self) -> str:
        """Returns the address at which the other nodes reach this one."""
        here = self._environ.get("SLURMD_NODENAME")
        others = [node for node in self.hosts if node != here]
        if not others:
            return "127.0.0.1"
        named = self._environ.get(task.INTERFACE)
        return network.address_of(named) if named else network.source_address(network.node_address(others[0]))


def _num_tasks(per_node: int, num_nodes: int, environ: Mapping[str, str]) -> int:
    """Returns the number of tasks of a job that was submitted with --ntasks-per-node, and perhaps with --ntasks.

    One that was given other nodes while it waited to start again still tells of its old number of tasks.
    """
    told, full = int(environ.get("SLURM_NTASKS", sys.maxsize)), per_node * num_nodes
    may_be_old = "SLURM_RESTART_COUNT" in environ and told % per_node == 0
    return full if may_be_old else min(told, full)


def job_nodes(environ: Mapping[str, str]) -> list[str]:
    """Returns the names of the nodes of a SLURM job, in its order.

    Raises:
        OSError: SLURM does not answer.
    """
    listed = ["scontrol", "show", "hostnames", environ["SLURM_JOB_NODELIST"]]
    told = subprocess.run(listed, capture_output=True, text=True, check=False)
    if told.returncode:
        raise OSError(f"{' '.join(listed)}: {told.stderr.strip()}")
    return told.stdout.split()
