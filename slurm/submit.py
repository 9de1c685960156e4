"""Submits the pipeline from patches to an exported model as a chain of SLURM jobs.

    python -m slurm.submit --config=experiments/configs/benchmark.py --data_dir=records --workdir=runs/eca_b0 --dry_run
    python -m slurm.submit --config=... --data_dir=... --workdir=... --nodes=2 --gpus_per_node=4 --steps=train,export

Reports what cannot work before it queues any job. Without --dry_run it queues the jobs and prints how to follow and
cancel them; the output of the jobs goes to WORKDIR/slurm. Settings of the site are in slurm/env.sh.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from absl import flags

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.command import run_command
from experiments.shared.config_flag import config_arguments, define_config
from experiments.shared.early_checks import check_before_tensorflow
from slurm.cluster import Request, check_request, find_partition, read_partitions, read_site
from slurm.job_chain import Chain, Job, check_no_other_jobs, queue_all

STEPS = ("convert", "train", "evaluate", "export")
# Flags of tfrecord_tools.convert that name files, and those that this command sets itself.
_FILE_FLAGS = ("s2", "s1", "maps", "input", "lists_dir", "metadata")
_OWN_FLAGS = ("output_dir", "task_index", "num_tasks")

_STEPS = flags.DEFINE_list("steps", ["train"], f"Steps to run, of {', '.join(STEPS)}; always in this order.")
_CONFIG = define_config("The training follows it.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; the jobs' output goes to WORKDIR/slurm.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest; overrides the config's.")
_NODES = flags.DEFINE_integer("nodes", 1, "Nodes to train on.", lower_bound=1)
_GPUS = flags.DEFINE_integer("gpus_per_node", 1, "GPUs of each node, one rank each; 0 for CPUs.", lower_bound=0)
_RANKS = flags.DEFINE_integer(
    "ranks_per_node", None, "Ranks of each node; default: one for each GPU, or 1.", lower_bound=1
)
_CPUS = flags.DEFINE_integer("cpus_per_rank", 4, "Cores of each rank, and of each conversion task.", lower_bound=1)
_TIME = flags.DEFINE_string("time", "", "Time limit of each job, as for sbatch; training resumes after it.")
_PARTITION = flags.DEFINE_string(
    "partition", None, "Partition, or several separated by commas; default: that of slurm/env.sh, then SLURM's."
)
_CPU_PARTITION = flags.DEFINE_string("cpu_partition", None, "Partition of the jobs that need no GPU, if it differs.")
_ACCOUNT = flags.DEFINE_string("account", None, "Account; default: that of slurm/env.sh, then SLURM's.")
_SBATCH = flags.DEFINE_string("sbatch", "", "Further options of sbatch for all jobs: '--qos=high --mem=0'.")
_ELASTIC = flags.DEFINE_bool("elastic", False, "Continue on the nodes that are left when one is lost.")
_MIN_NODES = flags.DEFINE_integer("min_nodes", None, "Fewest nodes of an elastic run; default: 1.", lower_bound=1)
_CONVERT_ARGS = flags.DEFINE_string("convert_args", "", "Arguments of tfrecord_tools.convert: '--s2=... --s1=...'.")
_CONVERT_TASKS = flags.DEFINE_integer("convert_tasks", 8, "Tasks that share the conversion.", lower_bound=1)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Queue nothing; print the scripts and what they would request.")


def read_steps() -> list[str]:
    """Returns the requested steps in their order.

    Raises:
        ValueError: A step is unknown, or none is given.
    """
    unknown = sorted(set(_STEPS.value) - set(STEPS))
    if unknown or not _STEPS.value:
        raise ValueError(f"--steps={','.join(_STEPS.value)}: expected some of {', '.join(STEPS)}.")
    return [step for step in STEPS if step in _STEPS.value]


def make_request() -> Request:
    """Returns what the training requests.

    Raises:
        ValueError: Flags contradict each other.
    """
    gpus, ranks = _GPUS.value, _RANKS.value or _GPUS.value or 1
    if gpus and ranks != gpus:
        raise ValueError(
            f"--ranks_per_node={ranks} with --gpus_per_node={gpus}: each rank uses a GPU of its own; leave out "
            "--ranks_per_node, or train on CPUs with --gpus_per_node=0."
        )
    if _MIN_NODES.value and not _ELASTIC.value:
        raise ValueError(f"--min_nodes={_MIN_NODES.value} is for an elastic run: add --elastic, or leave it out.")
    if _MIN_NODES.value and _MIN_NODES.value > _NODES.value:
        raise ValueError(f"--min_nodes={_MIN_NODES.value} is more than --nodes={_NODES.value}.")
    return Request(_NODES.value, ranks, gpus, _CPUS.value, _TIME.value)


def read_conversion_arguments() -> list[str]:
    """Returns the arguments of the conversion, after checking that the files they name exist.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The arguments are not flags, name no source, or set what this command sets itself.
    """
    arguments = shlex.split(_CONVERT_ARGS.value)
    named = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    if not all(argument.startswith("--") for argument in arguments) or not set(named) & {"s2", "s1", "input"}:
        raise ValueError(
            f"--convert_args={_CONVERT_ARGS.value!r}: expected '--s2=FOLDER ...', as for tfrecord_tools.convert."
        )
    for name in _OWN_FLAGS:
        if name in named:
            raise ValueError(f"--convert_args: leave out --{name}; --data_dir and --convert_tasks set it.")
    for name in _FILE_FLAGS:
        for path in filter(None, named.get(name, "").split(",")):
            if not Path(path).exists():
                raise FileNotFoundError(f"--convert_args: --{name}={path}: no such file or folder.")
    return arguments


def check_work(steps: list[str], data_dir: str, request: Request) -> list[str]:
    """Returns what the user should know about the steps, a line each.

    Raises:
        ValueError: The training cannot work.
        FileNotFoundError: Records, or the run to evaluate or export, are missing.
    """
    from bigearth_tf.data.manifest import read_manifest
    from slurm.feasibility import check_trained, check_training

    workdir = Path(_WORKDIR.value)
    if "train" in steps:
        fewest = (_MIN_NODES.value or 1) if _ELASTIC.value else request.nodes
        ranks = [nodes * request.ranks_per_node for nodes in range(request.nodes, fewest - 1, -1)]
        return check_training(_CONFIG.value, workdir, ranks, converted_before="convert" in steps)
    if "evaluate" in steps or "export" in steps:
        check_trained(workdir)
    if "evaluate" in steps and "convert" not in steps:
        read_manifest(data_dir)
    return []


def make_chain(request: Request, data_dir: str) -> Chain:
    """Returns what all jobs share."""
    site = read_site()
    partition = _PARTITION.value or site.get("SBATCH_PARTITION", "")
    return Chain(
        request=request,
        workdir=Path(_WORKDIR.value),
        data_dir=data_dir,
        partition=partition,
        cpu_partition=_CPU_PARTITION.value or site.get("BIGEARTH_CPU_PARTITION", "") or partition,
        account=_ACCOUNT.value or site.get("SBATCH_ACCOUNT", ""),
        further=tuple(shlex.split(_SBATCH.value)),
        elastic_min_nodes=(_MIN_NODES.value or 1) if _ELASTIC.value else 0,
    )


def check_cluster(steps: list[str], chain: Chain) -> list[str]:
    """Returns what the user should know about the partitions, a line each.

    Raises:
        ValueError: A request fits into no partition, or jobs for the work folder are already queued.
        OSError: SLURM does not respond; a dry run only reports it.
    """
    try:
        partitions = read_partitions()
        check_no_other_jobs(chain.workdir)
    except OSError as error:
        if not _DRY_RUN.value:
            raise
        return [f"partition and queue: not checked. {error}"]
    lines: list[str] = []
    for step in steps:
        found = [find_partition(name, partitions) for name in chain.partition_of(step).split(",")]
        check_request(chain.request_of(step), found, saves=step == "train")
        lines += [f"partition: {partition}" for partition in found]
    return list(dict.fromkeys(lines))


def make_jobs(steps: list[str], chain: Chain, convert_arguments: list[str]) -> list[Job]:
    """Returns the jobs of the steps."""
    jobs = chain.make_conversion_jobs(convert_arguments, _CONVERT_TASKS.value) if "convert" in steps else []
    if "train" in steps:
        jobs.append(chain.make_training_job(config_arguments()))
    return [
        *jobs,
        *(
            make()
            for step, make in (("evaluate", chain.make_evaluation_job), ("export", chain.make_export_job))
            if step in steps
        ),
    ]


def print_jobs(jobs: list[Job]) -> None:
    """Prints the commands that would queue the jobs, and their scripts."""
    for before, job in zip([None, *jobs], jobs):
        print(f"\n== {job.name}\n$ {job.format_command(f'<job of {before.name}>' if before else '')}\n")
        print("".join(f"    {line}\n" for line in job.script.read_text(encoding="utf-8").splitlines()), end="")


def submit(jobs: list[Job], chain: Chain) -> None:
    """Queues the jobs and prints how to follow and cancel them."""
    chain.logs.mkdir(parents=True, exist_ok=True)
    ids = queue_all(jobs)
    for job, number, before in zip(jobs, ids, ["", *ids]):
        print(f"{job.name}: job {number}" + (f", after {before}" if before else ""))
    print(f"queue:   squeue --jobs={','.join(ids)}")
    print("follow:  tail -F", *(str(job.log).replace("%j", number) for job, number in zip(jobs, ids)))
    print(f"cancel:  scancel {' '.join(ids)}")


def main() -> None:
    """Checks everything, then prints or queues the jobs."""
    steps, request = read_steps(), make_request()
    if "train" in steps and not _CONFIG.value:
        raise ValueError("Training needs --config; experiments/configs/ has some.")
    data_dir = _DATA_DIR.value or (_CONFIG.value.data.data_dir if _CONFIG.value else "")
    if not data_dir and steps != ["export"]:
        raise ValueError("Name the folder of the records with --data_dir.")
    convert_arguments = read_conversion_arguments() if "convert" in steps else []
    if "train" in steps:
        _CONFIG.value.data.data_dir = data_dir
        has_data = "convert" not in steps or (Path(data_dir) / MANIFEST_NAME).exists()
        check_before_tensorflow(_CONFIG.value, _WORKDIR.value, has_data=has_data)
    chain = make_chain(request, data_dir)
    print(*[request, *check_cluster(steps, chain), *check_work(steps, data_dir, request)], sep="\n")
    jobs = make_jobs(steps, chain, convert_arguments)
    if _DRY_RUN.value:
        print_jobs(jobs)
    else:
        submit(jobs, chain)


if __name__ == "__main__":
    run_command(main)
