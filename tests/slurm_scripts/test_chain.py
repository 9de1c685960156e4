"""Tests on a real SLURM cluster of submitted jobs, from patches to an exported model, and of refused ones."""

import csv
import json
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.support.archives import write_lists, write_pair
from tests.support.paths import REPOSITORY
from tests.support.records import write_records
from tests.support.slurm_cluster.cluster import LIMIT_S

pytestmark = pytest.mark.slurm
TINY = Path(__file__).with_name("tiny.py")
SUBMIT = ("python", "-m", "slurm.submit", f"--config={TINY}", "--cpus_per_rank=1")
ON_CPUS = ("--gpus_per_node=0", "--nodes=2")


def wait(cluster, output, timeout_s=LIMIT_S):
    """Waits until all jobs that submit printed have ended; returns name -> state."""
    numbers = dict(re.findall(r"^(\w+): job (\d+)", output, re.MULTILINE))
    assert numbers, output
    end = time.monotonic() + timeout_s
    while cluster.run("squeue", "-h", f"--jobs={','.join(numbers.values())}"):
        assert time.monotonic() < end, cluster.run("squeue")
        time.sleep(0.5)
    return {name: job_field(cluster, number, "JobState") for name, number in numbers.items()}


def job_field(cluster, number, field):
    facts = cluster.run("scontrol", "--oneliner", "show", "job", number)
    values = set(re.findall(rf"\b{field}=(\S*)", facts))
    assert len(values) == 1, facts
    return values.pop()


def logs(workdir):
    return "".join(f"== {path.name}\n{path.read_text()}" for path in sorted((workdir / "slurm").glob("*.out")))


@pytest.fixture(scope="module")
def records(cluster):
    write_records(cluster.folder / "jobs" / "records", {"train": 32, "val": 8, "test": 8})
    return "records"


@pytest.mark.full
@pytest.mark.parametrize(("arguments", "message"), [
    (["--partition=gpux"], r"no such partition: gpux; there are: test \(2 nodes of 4 cores and 2 GPUs"),
    (["--nodes=3"], r"--nodes=3: nodes of the partition that are large enough: 2; "),
    (["--gpus_per_node=3"], r"--gpus_per_node=3: no node of the partition has that many"),
    (["--gpus_per_node=2", "--cpus_per_rank=3"], r"2 ranks a node with --cpus_per_rank=3 need 6 cores"),
    (["--steps=train,export", "--cpu_partition=testx"], r"no such partition: testx; there are: test "),
    (["--data_dir=nowhere"], r"nowhere/manifest.json: there is no manifest"),
])  # fmt: skip
def test_what_cannot_work_is_not_queued(cluster, login, records, arguments, message):
    output = login(*SUBMIT, f"--data_dir={records}", "--workdir=refused", *arguments)
    assert re.search(f"error: {message}", output), output
    assert not cluster.run("squeue", "-h")
    assert not (cluster.folder / "jobs" / "refused").exists()


@pytest.mark.full
def test_a_conversion_needs_no_gpus(cluster, login):
    arguments = ("--steps=convert", "--convert_args=--s2=.", "--data_dir=new", "--workdir=new", "--gpus_per_node=3")
    command = ("python", "-m", "slurm.submit", *arguments, "--dry_run")
    output = login(*command)
    assert "== finalize" in output, output
    assert "--gpus" not in output
    assert "1 ranks a node with --cpus_per_rank=9 need 9 cores" in login(*command, "--cpus_per_rank=9")


@pytest.mark.full
def test_the_site_sets_partition_and_account(cluster, login, records):
    arguments = (*SUBMIT, f"--data_dir={records}", "--workdir=refused", "--dry_run")
    assert "no such partition: slow" in login(*arguments, SBATCH_PARTITION="slow")
    output = login(*arguments, "--partition=test", SBATCH_PARTITION="slow", SBATCH_ACCOUNT="me")
    assert "--partition=test --account=me" in output, output


@pytest.mark.full
def test_a_refusal_of_slurm_is_reported_and_the_jobs_before_are_cancelled(cluster, login):
    script = (
        "import pathlib\n"
        "from slurm.job_chain import Job, queue_all\n"
        "def job(*options):\n"
        "    return Job('export', options, (), {}, pathlib.Path('export.out'))\n"
        "queue_all([job('--hold', '--comment=first'), job('--reservation=none')])\n"
    )
    output = login("python", "-c", script)
    assert re.search(
        r"OSError: sbatch .*--dependency=afterok:\d+ .*--reservation=none .*\nwas refused: sbatch: error: ", output
    ), output
    assert "JobState=CANCELLED" in cluster.run("scontrol", "show", "job", re.search(r"afterok:(\d+)", output)[1])
    assert not cluster.run("squeue", "-h")


@pytest.mark.full
def test_gpus_are_requested_and_a_second_run_in_the_folder_is_refused(cluster, login, records):
    command = (*SUBMIT, f"--data_dir={records}", "--workdir=gpus", "--gpus_per_node=2", "--nodes=2", "--sbatch=--hold")
    output = login(*command)
    number = re.search(r"^train: job (\d+)$", output, re.MULTILINE)[1]
    assert job_field(cluster, number, "TresPerNode") == "gres:gpu:2"
    assert job_field(cluster, number, "NumTasks") == "4"
    assert f"follow:  tail -F gpus/slurm/train-{number}.out\n" in output
    assert f"cancel:  scancel {number}\n" in output
    again = login(*command)
    assert f"gpus: jobs for this folder are queued or running already: {number} (train). Wait for them" in again
    cluster.run("scancel", number)


def test_from_patches_to_an_exported_model(cluster, login):
    jobs = cluster.folder / "jobs"
    for index in range(20):
        write_pair(jobs, index, ["Pastures"] if index % 2 else ["Coniferous forest"])
    write_lists(jobs / "lists", {"train": list(range(12)), "val": list(range(12, 16)), "test": [16, 17, 18, 19]})
    source = "--s2=s2 --lists_dir=lists --num_shards=2"
    output = login(
        *SUBMIT, *ON_CPUS, "--steps=convert,train,evaluate,export", f"--convert_args={source}", "--convert_tasks=2",
        "--data_dir=converted", "--workdir=whole", "--config.global_batch_size=4",
    )  # fmt: skip
    states = wait(cluster, output)
    jobs_of_chain = ("convert", "finalize", "train", "evaluate", "export")
    assert states == dict.fromkeys(jobs_of_chain, "COMPLETED"), logs(jobs / "whole")
    cluster.run(sys.executable, "-m", "tfrecord_tools.convert", *source.split(), "--output_dir=alone")
    contents = [{path.name: path.read_bytes() for path in (jobs / name).iterdir()} for name in ("converted", "alone")]
    assert contents[0] == contents[1]
    result = json.loads((jobs / "whole" / "result.json").read_text())
    card = json.loads((jobs / "whole" / "model" / "model_card.json").read_text())
    evaluation = json.loads((jobs / "whole" / "evaluation" / "test" / "evaluation.json").read_text())
    assert card["scores"]["test"] == result["test"]
    fixed = evaluation["decisions"]["fixed"]["scores"]
    assert fixed["micro_f1"]["value"] == pytest.approx(result["test"]["micro_f1"])
    train = re.search(r"^train: job (\d+)", output, re.MULTILINE)[1]
    assert {path.name for path in (jobs / "whole" / "slurm" / f"train-{train}").iterdir()} == {
        "rank-0.log",
        "rank-1.log",
    }


@pytest.mark.full
def test_jobs_after_a_failed_one_are_cancelled(cluster, login, records):
    jobs = cluster.folder / "jobs"
    shutil.copytree(jobs / records, jobs / "damaged")
    shard = jobs / "damaged" / "train-00000-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1  # Of the first record: its length still fits, only reading its content shows the damage.
    shard.write_bytes(content)
    steps = ("--steps=train,export", "--data_dir=damaged", "--workdir=failing")
    states = wait(cluster, login(*SUBMIT, *ON_CPUS, *steps))
    output = logs(jobs / "failing")
    assert states == {"train": "FAILED", "export": "CANCELLED"}, output
    assert re.search(r"launch: .*damaged/train-00000-of-00002.tfrecord", output), output
    assert not (jobs / "failing" / "model").exists()


@pytest.mark.full
def test_an_array_trains_a_sweep(cluster, login, records):
    jobs = cluster.folder / "jobs"
    number = login(
        "sbatch", "--parsable", "--array=0-1", "--cpus-per-task=1", "--ntasks-per-node=2",
        f"{REPOSITORY}/slurm/zoo.sbatch", f"--config={TINY}", "--models=wide_resnet_s?,wide_resnet",
        f"--data_dir={records}", "--workdir=zoo", BIGEARTH_HOME=str(REPOSITORY),
    ).strip()  # fmt: skip
    states = wait(cluster, f"zoo: job {number}")
    output = "".join(path.read_text() for path in jobs.glob("zoo-*.out"))
    assert states == {"zoo": "COMPLETED"}, output
    output = login("python", "-m", "experiments.sweep", "--workdir=zoo", "--table")
    assert "2 runs; wrote zoo/sweep.csv and .md" in output, output
    with (jobs / "zoo" / "sweep.csv").open(newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"wide_resnet", "wide_resnet_se"}


@pytest.mark.full
def test_everything_can_run_in_a_container(cluster, login, records, tmp_path):
    """The example for Apptainer, with a script in place of Apptainer that logs its host and arguments."""
    jobs, home = cluster.folder / "jobs", tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "slurm", home / "slurm")
    for package in ("bigearth_tf", "experiments", "tfrecord_tools"):
        (home / package).symlink_to(REPOSITORY / package)
    settings = (REPOSITORY / "slurm" / "examples" / "env_apptainer.sh").read_text()
    (home / "slurm" / "env.sh").write_text(settings.replace("=ib0", "=eth0"))
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "apptainer"
    script.write_text(
        f'#!/bin/bash\necho "$(hostname) $*" >>{tmp_path}/asked\n'
        f'[ "$1 $2 $3" = "exec --nv {home}/bigearth_tf.sif" ] || exit 9\n'
        'PATH=$APPTAINERENV_PREPEND_PATH:$PATH\nexec "${@:4}"\n'
    )
    script.chmod(0o755)
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    number = login(
        "bash", "-c", f'PATH={tmp_path}/bin:$PATH exec "$@"', "bash",
        "sbatch", "--parsable", "--nodes=2", "--cpus-per-task=1", f"{home}/slurm/train.sbatch",
        f"--config={TINY}", f"--data_dir={records}", "--workdir=contained", BIGEARTH_HOME=str(home),
    ).strip()  # fmt: skip
    states = wait(cluster, f"train: job {number}")
    output = (jobs / f"train-{number}.out").read_text()
    assert states == {"train": "COMPLETED"}, output
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 3, asked
    assert sum("-m bigearth_tf.launch --log_dir=" in line for line in asked) == 1
    assert sorted(line.split()[0] for line in asked if "bigearth_tf.launch.task" in line) == ["n1", "n2"]
