"""Which jobs lead from patches to an exported model, what does each ask for, and how are they queued?"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from slurm.cluster import Request

HERE = Path(__file__).parent
# The jobs that are one process, or an array of such, without a GPU.
_OF_CPUS = ("convert", "finalize", "export")


@dataclasses.dataclass(frozen=True)
class Job:
    """A batch script with options of sbatch and arguments.

    `variables` are those the script is to see. `log` is where its output goes, with %j for the job's number.
    """

    name: str
    options: tuple[str, ...]
    arguments: tuple[str, ...]
    variables: dict[str, str]
    log: Path

    @property
    def script(self) -> Path:
        """The batch script."""
        return HERE / f"{self.name}.sbatch"

    def command(self, after: str = "") -> list[str]:
        """Returns the command that queues it, to start when the job `after` has ended well."""
        wait = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
        return ["sbatch", "--parsable", "--export=ALL", *wait, *self.options, str(self.script), *self.arguments]

    def shown(self, after: str = "") -> str:
        """Returns that command as one would type it."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return " ".join([*variables, shlex.join(self.command(after))])

    def queue(self, after: str = "") -> str:
        """Queues it, and returns its number.

        Raises:
            OSError: SLURM refused.
        """
        environ = {**os.environ, **self.variables}
        answer = subprocess.run(self.command(after), env=environ, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise OSError(f"{self.shown(after)}\nwas refused: {answer.stderr.strip()}")
        return answer.stdout.strip().split(";")[0]  # After it comes the cluster's name, where there are several.


@dataclasses.dataclass(frozen=True)
class Chain:
    """What all jobs of a chain share."""

    request: Request
    workdir: Path
    data_dir: str
    partition: str
    cpu_partition: str
    account: str
    further: tuple[str, ...]
    elastic_min_nodes: int = 0

    @property
    def logs(self) -> Path:
        """Folder of the jobs' output."""
        return self.workdir / "slurm"

    def asked(self, step: str) -> Request:
        """Returns what the job of a step asks for, or each task of an array."""
        if step in _OF_CPUS:
            return dataclasses.replace(self.request, nodes=1, ranks_per_node=1, gpus_per_node=0)
        return self.request if step == "train" else dataclasses.replace(self.request, nodes=1)

    def partition_of(self, step: str) -> str:
        """Returns the partition of the job of a step, or several with commas between; "" for SLURM's default."""
        return self.cpu_partition if step in _OF_CPUS else self.partition

    def convert(self, arguments: Sequence[str], tasks: int) -> list[Job]:
        """Returns the conversion by so many tasks, and the job that makes a data set of their work."""
        tolerated = [argument for argument in arguments if argument.lstrip("-").startswith("allow_problems=")]
        output = f"--output_dir={self.data_dir}"
        cores = f"--cpus-per-task={self.request.cpus_per_rank}"
        array = self._job("convert", [f"--array=0-{tasks - 1}", cores], [*arguments, output])
        return [array, self._job("finalize", [], [output, *tolerated])]

    def train(self, config_arguments: Sequence[str]) -> Job:
        """Returns the training."""
        launch = f"--elastic --min_nodes={self.elastic_min_nodes}" if self.elastic_min_nodes else ""
        options = [*self._ranks("train"), *(["--no-kill"] if launch else [])]
        arguments = [*config_arguments, f"--data_dir={self.data_dir}", f"--workdir={self.workdir}"]
        return self._job("train", options, arguments, launch=launch)

    def evaluate(self) -> Job:
        """Returns the evaluation of the best checkpoint, on one node."""
        return self._job(
            "evaluate", self._ranks("evaluate"), [f"--workdir={self.workdir}", f"--data_dir={self.data_dir}"]
        )

    def export(self) -> Job:
        """Returns the export of the best checkpoint."""
        cores = f"--cpus-per-task={self.request.cpus_per_rank}"
        return self._job("export", [cores], [f"--workdir={self.workdir}", f"--output_dir={self.workdir / 'model'}"])

    def _ranks(self, step: str) -> list[str]:
        asked = self.asked(step)
        gpus = [f"--gpus-per-node={asked.gpus_per_node}"] if asked.gpus_per_node else []
        ranks = [f"--ntasks-per-node={asked.ranks_per_node}", f"--cpus-per-task={asked.cpus_per_rank}"]
        return [f"--nodes={asked.nodes}", *ranks, *gpus]

    def _job(self, name: str, options: Sequence[str], arguments: Sequence[str], launch: str = "") -> Job:
        is_array = any(option.startswith("--array") for option in options)
        shared = {
            "partition": self.partition_of(name),
            "account": self.account,
            "time": self.request.time,
            "output": str(self.logs / ("%x-%A_%a.out" if is_array else "%x-%j.out")),
            # By which jobs of one folder are found.
            "comment": str(self.workdir.absolute()),
        }
        named = [f"--{key}={value}" for key, value in shared.items() if value]
        variables = {"BIGEARTH_HOME": str(HERE.parent), "BIGEARTH_LOGS": str(self.logs)}
        if launch:
            variables["BIGEARTH_LAUNCH"] = launch
        log = self.logs / (f"{name}-%j_0.out" if is_array else f"{name}-%j.out")
        return Job(name, (*options, *named, *self.further), tuple(arguments), variables, log)


def check_alone(workdir: Path) -> None:
    """Checks that no job of this user is queued or runs for the same folder.

    Raises:
        ValueError: One does.
        OSError: SLURM does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--format=%A %j %k"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise OSError(f"SLURM does not answer: {' '.join(command)}: {told.stderr.strip()}")
    jobs = dict.fromkeys(
        f"{number} ({name})"
        for number, name, comment in (line.split(maxsplit=2) for line in told.stdout.splitlines())
        if comment == str(workdir.absolute())
    )
    if jobs:
        numbers = " ".join(job.split()[0] for job in jobs)
        raise ValueError(
            f"{workdir}: jobs for this folder are queued or running already: {', '.join(jobs)}. Wait for them, or "
            f"`scancel {numbers}`, or name another --workdir."
        )


def queue_all(jobs: Sequence[Job]) -> list[str]:
    """Queues jobs, each to start when the one before has ended well; returns their numbers.

    Raises:
        OSError: SLURM refused one; those before it are cancelled.
    """
    numbers: list[str] = []
    for job in jobs:
        try:
            numbers.append(job.queue(after=numbers[-1] if numbers else ""))
        except OSError:
            if numbers:
                subprocess.run(["scancel", *numbers], check=False)
            raise
    return numbers
