"""Chain of SLURM jobs from patches to an exported model: what each job requests and runs, and how it is queued."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from slurm.cluster import Request

HERE = Path(__file__).parent
# Jobs of one process, or an array of such jobs, without a GPU.
_CPU_STEPS = ("convert", "finalize", "export")


@dataclasses.dataclass(frozen=True)
class Job:
    """A job to queue.

    Attributes:
        name: Name of the step; its batch script is `<name>.sbatch`.
        options: Options of sbatch.
        arguments: Arguments of the batch script.
        variables: Environment variables for the batch script.
        log: File of its output, with %j for the job id.
    """

    name: str
    options: tuple[str, ...]
    arguments: tuple[str, ...]
    variables: dict[str, str]
    log: Path

    @property
    def script(self) -> Path:
        """Path of the batch script."""
        return HERE / f"{self.name}.sbatch"

    def command(self, after: str = "") -> list[str]:
        """Returns the command that queues this job, to start after the job with the id `after` has succeeded."""
        wait = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
        return ["sbatch", "--parsable", "--export=ALL", *wait, *self.options, str(self.script), *self.arguments]

    def format_command(self, after: str = "") -> str:
        """Returns that command, with its variables, as a user would type it."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return " ".join([*variables, shlex.join(self.command(after))])

    def queue(self, after: str = "") -> str:
        """Queues this job and returns its id.

        Raises:
            OSError: SLURM refused.
        """
        environ = {**os.environ, **self.variables}
        result = subprocess.run(self.command(after), env=environ, capture_output=True, text=True, check=False)
        if result.returncode:
            raise OSError(f"{self.format_command(after)}\nwas refused: {result.stderr.strip()}")
        return result.stdout.strip().split(";")[0]  # With several clusters, the name of the cluster follows.


@dataclasses.dataclass(frozen=True)
class Chain:
    """What all jobs of a chain share.

    Attributes:
        request: Request of the training.
        workdir: Work folder of the run.
        data_dir: Folder of the records.
        partition: Partition for training and evaluation; several separated by commas; "" for SLURM's default.
        cpu_partition: The same for the other jobs.
        account: Account; "" for SLURM's default.
        further: Further options of sbatch.
        elastic_min_nodes: Fewest nodes of an elastic training; 0 if it is not elastic.
    """

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
        """Folder for the output of the jobs."""
        return self.workdir / "slurm"

    def request_of(self, step: str) -> Request:
        """Returns the request of a step's job, or of each task of its array."""
        if step in _CPU_STEPS:
            return dataclasses.replace(self.request, nodes=1, ranks_per_node=1, gpus_per_node=0)
        return self.request if step == "train" else dataclasses.replace(self.request, nodes=1)

    def partition_of(self, step: str) -> str:
        """Returns the partition of a step's job, or several separated by commas; "" for SLURM's default."""
        return self.cpu_partition if step in _CPU_STEPS else self.partition

    def make_conversion_jobs(self, arguments: Sequence[str], tasks: int) -> list[Job]:
        """Returns the conversion as an array of `tasks` tasks, and the job that writes the manifest after them."""
        tolerated = [argument for argument in arguments if argument.lstrip("-").startswith("allow_problems=")]
        output = f"--output_dir={self.data_dir}"
        cores = f"--cpus-per-task={self.request.cpus_per_rank}"
        array = self._job("convert", [f"--array=0-{tasks - 1}", cores], [*arguments, output])
        return [array, self._job("finalize", [], [output, *tolerated])]

    def make_training_job(self, config_arguments: Sequence[str]) -> Job:
        """Returns the job of the training."""
        launch = f"--elastic --min_nodes={self.elastic_min_nodes}" if self.elastic_min_nodes else ""
        options = [*self._ranks("train"), *(["--no-kill"] if launch else [])]
        arguments = [*config_arguments, f"--data_dir={self.data_dir}", f"--workdir={self.workdir}"]
        return self._job("train", options, arguments, launch=launch)

    def make_evaluation_job(self) -> Job:
        """Returns the job that evaluates the best checkpoint, on one node."""
        return self._job(
            "evaluate", self._ranks("evaluate"), [f"--workdir={self.workdir}", f"--data_dir={self.data_dir}"]
        )

    def make_export_job(self) -> Job:
        """Returns the job that exports the best checkpoint."""
        cores = f"--cpus-per-task={self.request.cpus_per_rank}"
        return self._job("export", [cores], [f"--workdir={self.workdir}", f"--output_dir={self.workdir / 'model'}"])

    def _ranks(self, step: str) -> list[str]:
        request = self.request_of(step)
        gpus = [f"--gpus-per-node={request.gpus_per_node}"] if request.gpus_per_node else []
        ranks = [f"--ntasks-per-node={request.ranks_per_node}", f"--cpus-per-task={request.cpus_per_rank}"]
        return [f"--nodes={request.nodes}", *ranks, *gpus]

    def _job(self, name: str, options: Sequence[str], arguments: Sequence[str], launch: str = "") -> Job:
        is_array = any(option.startswith("--array") for option in options)
        shared = {
            "partition": self.partition_of(name),
            "account": self.account,
            "time": self.request.time,
            "output": str(self.logs / ("%x-%A_%a.out" if is_array else "%x-%j.out")),
            # `check_no_other_jobs` finds the jobs of a folder by their comment.
            "comment": str(self.workdir.absolute()),
        }
        named = [f"--{key}={value}" for key, value in shared.items() if value]
        variables = {"BIGEARTH_HOME": str(HERE.parent), "BIGEARTH_LOGS": str(self.logs)}
        if launch:
            variables["BIGEARTH_LAUNCH"] = launch
        log = self.logs / (f"{name}-%j_0.out" if is_array else f"{name}-%j.out")
        return Job(name, (*options, *named, *self.further), tuple(arguments), variables, log)


def check_no_other_jobs(workdir: Path) -> None:
    """Checks that no job of this user for the same work folder is queued or running.

    Raises:
        ValueError: There is such a job.
        OSError: SLURM does not respond.
    """
    command = ["squeue", "--me", "--noheader", "--format=%A %j %k"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(f"SLURM does not respond: {' '.join(command)}: {result.stderr.strip()}")
    jobs = dict.fromkeys(
        f"{number} ({name})"
        for number, name, comment in (line.split(maxsplit=2) for line in result.stdout.splitlines())
        if comment == str(workdir.absolute())
    )
    if jobs:
        numbers = " ".join(job.split()[0] for job in jobs)
        raise ValueError(
            f"{workdir}: jobs for this folder are queued or running already: {', '.join(jobs)}. Wait for them, or "
            f"`scancel {numbers}`, or name another --workdir."
        )


def queue_all(jobs: Sequence[Job]) -> list[str]:
    """Queues jobs, each to start after the one before has succeeded; returns their ids.

    Raises:
        OSError: SLURM refused a job; the jobs before it are canceled.
    """
    ids: list[str] = []
    for job in jobs:
        try:
            ids.append(job.queue(after=ids[-1] if ids else ""))
        except OSError:
            if ids:
                subprocess.run(["scancel", *ids], check=False)
            raise
    return ids
