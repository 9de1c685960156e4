"""What can a job ask of SLURM about itself? To be queued again, and which of its nodes can be used."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping

from absl import logging

# Nodes that SLURM gives no further step to; it marks those that do not answer with an asterisk.
_UNUSABLE = re.compile(r"\*|^(down|drain|drng|fail|maint|unk|boot)", re.IGNORECASE)
_PROBE_S = 10.0


def can_be_requeued(environ: Mapping[str, str] = os.environ) -> bool:
    """Tells whether this process runs in a batch job that was submitted with --requeue."""
    return bool(
        re.search(r"\bBatchFlag=1\b", _told_of_job(environ)) and re.search(r"\bRequeue=1\b", _told_of_job(environ))
    )


def _told_of_job(environ: Mapping[str, str]) -> str:
    if "SLURM_JOB_ID" not in environ:
        return ""
    command = ["scontrol", "--oneliner", "show", "job", environ["SLURM_JOB_ID"]]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def requeue(without: Iterable[str] = (), environ: Mapping[str, str] = os.environ) -> None:
    """Queues the own job again, on other nodes than those named. SLURM then ends this process: it does not return.

    Raises:
        OSError: SLURM refused.
    """
    job = environ["SLURM_JOB_ID"]
    answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise OSError(f"scontrol requeue {job}: {answer.stderr.strip()}")
    excluded = ",".join(without)
    end = time.monotonic() + 60
    while excluded and time.monotonic() < end:
        # Refused until the job is pending again.
        update = ["scontrol", "update", f"JobId={job}", f"ExcNodeList={excluded}"]
        if subprocess.run(update, capture_output=True, check=False).returncode == 0:
            logging.info("launch: job %s will not use %s again", job, excluded)
            excluded = ""
        time.sleep(0.2)
    time.sleep(max(0.0, end - time.monotonic()))


def usable_nodes(nodes: Iterable[str]) -> list[str]:
    """Returns those of the nodes on which SLURM would start a step."""
    listed = ",".join(nodes)
    told = subprocess.run(
        ["sinfo", "-h", "-N", "-n", listed, "-o", "%N %T"], capture_output=True, text=True, check=True
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
