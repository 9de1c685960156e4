"""Partitions of the cluster and settings of the site, and whether a request fits into a partition."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ENV_FILE = Path(__file__).with_name("env.sh")
# Columns of sinfo: partition, number of nodes, their cores and generic resources, time limit and default time.
_FORMAT = "%P|%D|%c|%G|%l|%L"
_GPUS = re.compile(r"\bgpu(?::[^:,()]+)?:(\d+)")
# SLURM is asked to send training the signal to save 3 minutes before the end, and may send it a minute earlier.
_LEAST_MINUTES = 10


@dataclasses.dataclass(frozen=True)
class Request:
    """What a job requests for its ranks; `time` is written as in SLURM, "" is the partition's default."""

    nodes: int
    ranks_per_node: int
    gpus_per_node: int
    cpus_per_rank: int
    time: str = ""

    @property
    def ranks(self) -> int:
        """Number of ranks on all nodes."""
        return self.nodes * self.ranks_per_node

    def __str__(self) -> str:
        """Returns the request as a user reads it."""
        device = "with a GPU each" if self.gpus_per_node else "on CPUs"
        ranks = f"{self.nodes} nodes x {self.ranks_per_node} ranks = {self.ranks} ranks {device}"
        return f"{ranks}, {self.cpus_per_rank} cores a rank"


@dataclasses.dataclass
class Partition:
    """A partition of the cluster.

    Attributes:
        name: Name of the partition.
        is_default: Whether SLURM uses it for jobs that name none.
        time_limit: As SLURM writes it.
        default_time: Time limit of a job without --time, as SLURM writes it.
        kinds: (cores, GPUs) of a node -> number of such nodes.
    """

    name: str
    is_default: bool
    time_limit: str
    default_time: str
    kinds: Counter[tuple[int, int]]

    def __str__(self) -> str:
        """Returns the partition as a user reads it."""
        kinds = [
            f"{nodes} nodes of {cpus} cores" + (f" and {gpus} GPUs" if gpus else "")
            for (cpus, gpus), nodes in sorted(self.kinds.items())
        ]
        default = f", {self.default_time} without --time" if self.default_time != self.time_limit else ""
        return f"{self.name} ({', '.join(kinds) or 'no nodes'}; time limit {self.time_limit}{default})"


def read_site() -> dict[str, str]:
    """Returns the environment variables after env.sh was read.

    Raises:
        ValueError: env.sh fails.
    """
    command = ["bash", "-euc", '. "$1" >&2; env -0', "bash", str(ENV_FILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(f"{ENV_FILE}: fails with exit code {result.returncode}; fix it: {result.stderr.strip()}")
    return dict(line.split("=", 1) for line in result.stdout.split("\0") if "=" in line)


def read_partitions() -> dict[str, Partition]:
    """Returns name -> partition.

    Raises:
        FileNotFoundError: This machine has no SLURM.
        OSError: SLURM does not respond.
    """
    if not shutil.which("sbatch") or not shutil.which("sinfo"):
        raise FileNotFoundError(
            "There is no sbatch on this machine: submit on a login node of the cluster, or use --dry_run to see what "
            "would be requested. Without SLURM, `python -m bigearth_tf.launch --ranks=N -- ...` trains here."
        )
    command = ["sinfo", "--noheader", "--exact", f"--format={_FORMAT}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(f"SLURM does not respond: {' '.join(command)}: {result.stderr.strip()}")
    found: dict[str, Partition] = {}
    for line in result.stdout.splitlines():
        listed, nodes, cpus, resources, limit, default = line.split("|")
        name, default = listed.rstrip("*"), limit if default == "n/a" else default
        partition = found.setdefault(name, Partition(name, listed.endswith("*"), limit, default, Counter()))
        gpus = sum(map(int, _GPUS.findall(resources)))
        partition.kinds[int(cpus), gpus] += int(nodes)
    return found


def find_partition(name: str, partitions: dict[str, Partition]) -> Partition:
    """Returns the partition with a name, or the default partition if the name is "".

    Raises:
        ValueError: There is no such partition.
    """
    known = "; ".join(map(str, partitions.values())) or "none"
    if name and name not in partitions:
        raise ValueError(f"no such partition: {name}; there are: {known}.")
    chosen = [
        partition for partition in partitions.values() if partition.name == name or (not name and partition.is_default)
    ]
    if not chosen:
        raise ValueError(f"The cluster has no default partition: name one with --partition, of: {known}.")
    return chosen[0]


def check_request(request: Request, partitions: Sequence[Partition], *, saves: bool) -> None:
    """Checks that a request fits into at least one of the partitions.

    Args:
        request: Request of one job.
        partitions: Partitions that SLURM may choose from.
        saves: Whether the job is asked to save before its time is over; that needs a minimum of time.

    Raises:
        ValueError: The request fits into none; the message says what each partition has.
    """
    problems = [_find_problem(request, partition, saves) for partition in partitions]
    if all(problems):
        raise ValueError("\n".join(problems))


def _find_problem(request: Request, partition: Partition, saves: bool) -> str:
    """Returns why a request does not fit into a partition; "" if it fits."""
    gpus, cpus = request.gpus_per_node, request.ranks_per_node * request.cpus_per_rank
    with_gpus = {kind: nodes for kind, nodes in partition.kinds.items() if kind[1] >= gpus}
    if not with_gpus:
        remedy = "lower --gpus_per_node, or choose another --partition"
        if not any(kind[1] for kind in partition.kinds):
            remedy = "choose another --partition, or train on CPUs with --gpus_per_node=0 --ranks_per_node=N"
        return f"--gpus_per_node={gpus}: no node of the partition has that many: {partition}; {remedy}."
    fitting = {kind: nodes for kind, nodes in with_gpus.items() if kind[0] >= cpus}
    if not fitting:
        return (
            f"{request.ranks_per_node} ranks a node with --cpus_per_rank={request.cpus_per_rank} need {cpus} cores, "
            f"more than a node has: {partition}. Lower one of them."
        )
    if request.nodes > sum(fitting.values()):
        return (
            f"--nodes={request.nodes}: nodes of the partition that are large enough: {sum(fitting.values())}; request "
            f"no more: {partition}."
        )
    allowed = parse_minutes(partition.time_limit)
    if request.time and parse_minutes(request.time) > allowed:
        return (
            f"--time={request.time}: longer than the partition allows: {partition}. Near its limit a training saves, "
            f"is queued again and resumes, so --time={partition.time_limit} is enough."
        )
    if saves and parse_minutes(request.time or partition.default_time) < _LEAST_MINUTES:
        given = f"--time={request.time}" if request.time else f"without --time, a job gets {partition.default_time}"
        remedy = f"give at least {_LEAST_MINUTES} minutes (--time={_LEAST_MINUTES})"
        if allowed < _LEAST_MINUTES:
            remedy = f"choose another --partition, one that allows {_LEAST_MINUTES} minutes"
        return f"{given}: {remedy}; training is asked to save 3 to 4 minutes before the end. Partition: {partition}."
    return ""


def parse_minutes(time: str) -> float:
    """Returns the minutes of a time as SLURM writes it, such as 90, 1:30:00, 2-12 or infinite; inf for no limit.

    Raises:
        ValueError: The text is no such time.
    """
    if time.lower() in ("infinite", "unlimited", "n/a"):
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if not match:
        raise ValueError(f"--time={time}: expected minutes, hours:minutes:seconds, or days-hours such as 2-12.")
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1]:
        return 60 * (24 * days + first) + second + third / 60
    return 60 * first + second + third / 60 if match[4] else first + second / 60
