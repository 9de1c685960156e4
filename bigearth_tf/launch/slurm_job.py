"""What can a job ask of SLURM about itself? To be queued again, and which of its nodes can be used."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping

# Nodes that SLURM gives no further step to; it marks those that do not answer with an asterisk.
_UNUSABLE = re.compile(r"\*|^(down|drain|drng|fail|maint|unk|boot)", re.IGNORECASE)
_PROBE_S = 10.0


def can_be_requeued(environ: Mapping[str, str] = os.environ) -> bool:
    """Tells whether this process runs in a batch job that was submitted with --requeue.

    And that nobody has ended: a job that was cancelled, or that SLURM queues again by itself, is COMPLETING.
    """
    told = _told_of_job(environ)
    return all(re.search(rf"\b{fact}\b", told) for fact in ("JobState=RUNNING", "BatchFlag=1", "Requeue=1"))


def _own_job(environ: Mapping[str, str]) -> str:
    """Returns what names this job alone: SLURM_JOB_ID of an array's last task names the whole array."""
    if "SLURM_ARRAY_JOB_ID" in environ:
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID", "")


def _told_of_job(environ: Mapping[str, str]) -> str:
    job = _own_job(environ)
    command = ["scontrol", "--oneliner", "show", "job", job]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout if job else ""


def requeue(environ: Mapping[str, str] = os.environ) -> None:
    """Queues the own job again. SLURM gives it no node that it takes for down.

    Raises:
        OSError: SLURM refused.
    """
    # SLURM asks all processes of a job that it queues again to end, scontrol, too, which inherits what is ignored.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    command = ["scontrol", "requeue", _own_job(environ)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise OSError(f"{' '.join(command)}: {answer.stderr.strip()}")


def usable_nodes(nodes: Iterable[str]) -> list[str]:
    """Returns those of the nodes on which SLURM would start a step."""
    listed = ",".join(nodes)
    # Where SLURM does not answer for a moment, there are none for that moment.
    told = subprocess.run(
        ["sinfo", "-h", "-N", "-n", listed, "-o", "%N %T"], capture_output=True, text=True, check=False
    )
    states = dict(line.split() for line in told.stdout.splitlines())
    return [node for node, state in states.items() if not _UNUSABLE.search(state)]


def answers(node: str) -> bool:
    """Tells whether a step can be run on a node of the own job, by running one that does nothing."""
    command = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={node}", "--mpi=none", "--quiet", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False
