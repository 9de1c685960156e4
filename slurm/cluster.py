"""What does the cluster have, and does a request fit into it? As `sinfo` and the site's env.sh say."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ENV_FILE = Path(__file__).with_name("env.sh")
# Partition, nodes, cores of each, its generic resources, the partition's time limit, and its default time.
_FORMAT = "%P|%D|%c|%G|%l|%L"
_GPUS = re.compile(r"\bgpu(?::[^:,()]+)?:(\d+)")
# The batch scripts ask for their signal 3 minutes before the end, and SLURM may send it a minute earlier.
_LEAST_MINUTES = 10


@dataclasses.dataclass(frozen=True)
class Request:
    """What the ranks of a job ask for: `time` as SLURM writes it, "" for the partition's default."""

    nodes: int
    ranks_per_node: int
    gpus_per_node: int
    cpus_per_rank: int
    time: str = ""

    @property
    def ranks(self) -> int:
        """Ranks over all nodes."""
        return self.nodes * self.ranks_per_node

    def __str__(self) -> str:
        """Returns the request for people."""
        device = "with a GPU each" if self.gpus_per_node else "on CPUs"
        ranks = f"{self.nodes} nodes x {self.ranks_per_node} ranks = {self.ranks} ranks {device}"
        return f"{ranks}, {self.cpus_per_rank} cores a rank"


@dataclasses.dataclass
class Partition:
    """A partition: how many nodes it has of each kind (cores, GPUs), and its times as SLURM writes them.

    `default_time` is what a job without --time gets.
    """

    name: str
    is_default: bool
    time_limit: str
    default_time: str
    kinds: Counter[tuple[int, int]]

    def __str__(self) -> str:
        """Returns the partition for people."""
        kinds = [
            f"{nodes} nodes of {cpus} cores" + (f" and {gpus} GPUs" if gpus else "")
            for (cpus, gpus), nodes in sorted(self.kinds.items())
        ]
        default = f", {self.default_time} without --time" if self.default_time != self.time_limit else ""
        return f"{self.name} ({', '.join(kinds) or 'no nodes'}; time limit {self.time_limit}{default})"


def read_site() -> dict[str, str]:
    """Returns the environment that env.sh makes of this one.

    Raises:
        ValueError: It fails.
    """
    command = ["bash", "-euc", '. "$1" >&2; env -0', "bash", str(ENV_FILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(f"{ENV_FILE}: fails with exit code {result.returncode}; mend it: {result.stderr.strip()}")
    return dict(line.split("=", 1) for line in result.stdout.split("\0") if "=" in line)


def read_partitions() -> dict[str, Partition]:
    """Returns the partitions by name.

    Raises:
        FileNotFoundError: This machine has no SLURM.
        OSError: SLURM does not answer.
    """
    if not shutil.which("sbatch") or not shutil.which("sinfo"):
        raise FileNotFoundError(
            "There is no sbatch on this machine: submit on a login node of the cluster, or look at what would be asked "
            "for with --dry_run. Without SLURM, `python -m bigearth_tf.launch --ranks=N -- ...` trains here."
        )
    command = ["sinfo", "--noheader", "--exact", f"--format={_FORMAT}"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise OSError(f"SLURM does not answer: {' '.join(command)}: {told.stderr.strip()}")
    found: dict[str, Partition] = {}
    for line in told.stdout.splitlines():
        listed, nodes, cpus, resources, limit, default = line.split("|")
        name, default = listed.rstrip("*"), limit if default == "n/a" else default
        partition = found.setdefault(name, Partition(name, listed.endswith("*"), limit, default, Counter()))
        gpus = sum(map(int, _GPUS.findall(resources)))
        partition.kinds[int(cpus), gpus] += int(nodes)
    return found


def find_partition(name: str, partitions: dict[str, Partition]) -> Partition:
    """Returns the partition of a name, or the default one where the name is "".

    Raises:
        ValueError: There is none.
    """
    there = "; ".join(map(str, partitions.values())) or "none"
    if name and name not in partitions:
        raise ValueError(f"no such partition: {name}; there are: {there}.")
    chosen = [
        partition for partition in partitions.values() if partition.name == name or (not name and partition.is_default)
    ]
    if not chosen:
        raise ValueError(f"The cluster has no default partition: name one with --partition, of: {there}.")
    return chosen[0]


def check_request(request: Request, partitions: Sequence[Partition], *, saves: bool) -> None:
    """Checks that one of the partitions could ever give what is asked for.

    Args:
        request: What is asked for.
        partitions: Those that SLURM may take.
        saves: Whether the job is asked to save before its time is over, which needs some.

    Raises:
        ValueError: None could; the message says what each has.
    """
    refusals = [_why_not(request, partition, saves) for partition in partitions]
    if all(refusals):
        raise ValueError("\n".join(refusals))


def _why_not(request: Request, partition: Partition, saves: bool) -> str:
    """Returns why a partition cannot give what is asked for, or "" where it can."""
    gpus, cpus = request.gpus_per_node, request.ranks_per_node * request.cpus_per_rank
    having_gpus = {kind: nodes for kind, nodes in partition.kinds.items() if kind[1] >= gpus}
    if not having_gpus:
        remedy = "lower --gpus_per_node, or take another --partition"
        if not any(kind[1] for kind in partition.kinds):
            remedy = "take another --partition, or train on CPUs with --gpus_per_node=0 --ranks_per_node=N"
        return f"--gpus_per_node={gpus}: no node of the partition has so many: {partition}; {remedy}."
    fitting = {kind: nodes for kind, nodes in having_gpus.items() if kind[0] >= cpus}
    if not fitting:
        return (
            f"{request.ranks_per_node} ranks a node with --cpus_per_rank={request.cpus_per_rank} need {cpus} cores, "
            f"more than a node has: {partition}. Lower one of them."
        )
    if request.nodes > sum(fitting.values()):
        return (
            f"--nodes={request.nodes}: nodes of the partition that are large enough: {sum(fitting.values())}; ask for "
            f"no more: {partition}."
        )
    allowed = minutes(partition.time_limit)
    if request.time and minutes(request.time) > allowed:
        return (
            f"--time={request.time}: longer than the partition allows: {partition}. Training near its limit saves, is "
            f"queued again and goes on, so --time={partition.time_limit} does, too."
        )
    if saves and minutes(request.time or partition.default_time) < _LEAST_MINUTES:
        given = f"--time={request.time}" if request.time else f"without --time, a job gets {partition.default_time}"
        remedy = f"give at least {_LEAST_MINUTES} minutes (--time={_LEAST_MINUTES})"
        if allowed < _LEAST_MINUTES:
            remedy = f"take another --partition, one that allows {_LEAST_MINUTES} minutes"
        return f"{given}: {remedy}; training is asked to save 3 to 4 minutes before the end. Partition: {partition}."
    return ""


def minutes(time: str) -> float:
    """Returns the minutes of a time as SLURM writes it, such as 90, 1:30:00, 2-12 or infinite; inf for no limit.

    Raises:
        ValueError: It is none.
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
