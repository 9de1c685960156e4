"""Places of ranks on hosts: read from SLURM's variables, and written as the variables of Horovod."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of a rank.

    Attributes:
        rank: Index among all ranks.
        local_rank: Index among the ranks of its node.
        node: Index of its node.
        tasks_per_node: Number of ranks on each node.
    """

    rank: int
    local_rank: int
    node: int
    tasks_per_node: tuple[int, ...]

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return sum(self.tasks_per_node)

    @property
    def local_size(self) -> int:
        """Number of ranks on this node."""
        return self.tasks_per_node[self.node]


def expand_counts(text: str) -> tuple[int, ...]:
    """Returns a list of numbers that SLURM abbreviates: "2(x3),1" stands for 2, 2, 2, 1.

    Raises:
        ValueError: The text is no such list.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(f"tasks per node {text!r}: expected a list as SLURM writes it, such as '2(x3),1'.")
        counts += [int(match[1])] * int(match[2] or 1)
    return tuple(counts)


def find_place_in_step(environ: Mapping[str, str]) -> Place:
    """Returns the place of a task that srun started, for any distribution of tasks over nodes."""
    return Place(
        rank=int(environ["SLURM_PROCID"]),
        local_rank=int(environ["SLURM_LOCALID"]),
        node=int(environ["SLURM_NODEID"]),
        # Those of the step: srun may distribute tasks differently from sbatch.
        tasks_per_node=expand_counts(environ.get("SLURM_STEP_TASKS_PER_NODE") or environ["SLURM_TASKS_PER_NODE"]),
    )


def make_place_on_this_host(rank: int, num_ranks: int) -> Place:
    """Returns the place of one of several ranks that all run on this host."""
    return Place(rank, rank, 0, (num_ranks,))


def make_horovod_variables(place: Place, host: str, interface: str) -> dict[str, str]:
    """Returns the variables that Horovod's Gloo controller reads, without the address of its server."""
    larger = [count > place.local_rank for count in place.tasks_per_node]
    return {
        "HOROVOD_RANK": str(place.rank),
        "HOROVOD_SIZE": str(place.world_size),
        "HOROVOD_LOCAL_RANK": str(place.local_rank),
        "HOROVOD_LOCAL_SIZE": str(place.local_size),
        # The index among the ranks with the same local rank, and their number.
        "HOROVOD_CROSS_RANK": str(sum(larger[: place.node])),
        "HOROVOD_CROSS_SIZE": str(sum(larger)),
        "HOROVOD_HOSTNAME": host,
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_IFACE": interface,
    }


def make_thread_variables(place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns variables with the number of threads of a rank: its share of the cores that it may run on."""
    cores = environ.get("SLURM_CPUS_PER_TASK") if place.world_size > 1 or "SLURM_PROCID" in environ else None
    if not cores and "SLURM_PROCID" in environ and environ.get("SLURM_CPUS_ON_NODE"):
        cores = str(max(1, int(environ["SLURM_CPUS_ON_NODE"]) // place.local_size))
    cores = cores or str(max(1, len(os.sched_getaffinity(0)) // place.local_size))
    return {"OMP_NUM_THREADS": cores, "TF_NUM_INTRAOP_THREADS": cores}


def choose_device_name(place: Place, environ: Mapping[str, str]) -> str:
    """Returns the GPU that the rank will use, by its name in CUDA_VISIBLE_DEVICES; "cpu" if it has none.

    As `start_replica` chooses: the only GPU that SLURM bound to the task, or the GPU of the local rank.
    """
    visible = [name for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name not in ("", "-1")]
    return f"GPU {visible[place.local_rank % len(visible)]}" if visible else "cpu"
