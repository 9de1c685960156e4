"""Requests of a job to SLURM: to be queued again, and to report which of its nodes can be used."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping

# States of nodes on which SLURM starts no step; an asterisk marks a node that does not respond.
_UNUSABLE = re.compile(r"\*|^(down|drain|drng|fail|maint|unk|boot)", re.IGNORECASE)
_PROBE_S = 10.0


def can_be_requeued(environ: Mapping[str, str] = os.environ) -> bool:
    """Returns whether this process runs in a batch job that was submitted with --requeue and has not been ended.

    A job that was canceled, or that SLURM itself queues again, is COMPLETING.
    """
    facts = _read_facts(environ)
    return all(re.search(rf"\b{fact}\b", facts) for fact in ("JobState=RUNNING", "BatchFlag=1", "Requeue=1"))


def _own_job(environ: Mapping[str, str]) -> str:
    """Returns the name of this job alone: SLURM_JOB_ID of the last task of an array names the whole array."""
    if "SLURM_ARRAY_JOB_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID", "")


def _read_facts(environ: Mapping[str, str]) -> str:
    job = _own_job(environ)
    command = ["scontrol", "--oneliner", "show", "job", job]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout if job else ""


def requeue(environ: Mapping[str, str] = os.environ) -> None:
    """Queues this job again. SLURM does not give it a node that is down.

    Raises:
        OSError: SLURM refused.
    """
    # SLURM sends signals to all processes of a job that it queues again. scontrol inherits the ignored ones.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    command = ["scontrol", "requeue", _own_job(environ)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {result.stderr.strip()}")


def usable_nodes(nodes: Iterable[str]) -> list[str]:
    """Returns those of the nodes on which SLURM would start a step; none if SLURM does not respond."""
    command = ["sinfo", "-h", "-N", "-n", ",".join(nodes), "-o", "%N %T"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    states = dict(line.split() for line in result.stdout.splitlines())
    return [node for node, state in states.items() if not _UNUSABLE.search(state)]


def can_run_step_on(node: str) -> bool:
    """Returns whether a step can run on a node of this job, by running one that does nothing."""
    command = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={node}", "--mpi=none", "--quiet", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False
