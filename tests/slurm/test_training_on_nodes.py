"""Tests that training on a real SLURM cluster, in every layout of ranks, gives the result of one process."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bigearth_tf.distributed.folder_lock import LOCK_NAME
from bigearth_tf.runtime.locks import hold_lock
from tests.support.paths import REPOSITORY
from tests.support.records import write_records
from tests.support.slurm_cluster.cluster import ENDED

pytest.importorskip("horovod", reason="Horovod is not installed")
pytestmark = [pytest.mark.slurm, pytest.mark.full]
OPTIONS = [
    f"--config={REPOSITORY}/experiments/configs/benchmark.py",
    "--config.model=mlp_mixer_tiny",
    "--config.model_overrides=dim=8, depth=1, tokens_dim=8",
    "--config.data.bands=RGB",
    "--config.epochs=2",
    "--config.global_batch_size=12",
    "--config.best_metric=micro_f1",
]


def train(records, workdir, *options):
    return ["python", "-m", "experiments.train", *OPTIONS, f"--data_dir={records}", f"--workdir={workdir}", *options]


def losses(workdir):
    rows = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "step" in row and "loss" in row]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    write_records(folder, {"train": 40, "val": 9, "test": 11})
    return folder


@pytest.fixture(scope="module")
def alone(records, tmp_path_factory, environment):
    """Returns the work folder of a training by one process."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    subprocess.run(train(records, workdir), env=environment, check=True, timeout=200)
    return workdir


def assert_equal_to(alone, workdir):
    found, expected = losses(workdir), losses(alone)
    assert len(found) == len(expected) >= 6
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    results = [json.loads((folder / "result.json").read_text()) for folder in (workdir, alone)]
    assert results[0]["test"] == pytest.approx(results[1]["test"], abs=1e-6)


# Layouts of two jobs that run at the same time on the same two nodes.
TWO_EACH = (["--ntasks-per-node=2"], "", {"n1": "rank 0.*rank 1", "n2": "rank 2.*rank 3"})
THREE_CYCLIC = (
    ["--ntasks-per-node=2", "--ntasks=3"],
    "--srun=--distribution=cyclic",
    {"n1": "rank 0.*rank 2", "n2": "rank 1"},
)


def submit_training(cluster, environment, layout, options, *arguments):
    environ = {**environment, "BIGEARTH_HOME": REPOSITORY, "BIGEARTH_LAUNCH": options}
    script = REPOSITORY / "slurm" / "train.sbatch"
    return cluster.submit("--nodes=2", *layout, "--cpus-per-task=1", script, *arguments, environ=environ)


def assert_laid_out(job, ranks):
    for node, expected in ranks.items():
        assert re.search(rf"launch:   {node} \(10.199.0.1\d\): {expected}", job.output), job.output


def test_ranks_of_a_cluster_train_as_one_process(start_cluster, environment, records, alone, tmp_path):
    cluster = start_cluster()
    arguments = train(records, tmp_path / "run")[3:]
    job = submit_training(cluster, environment, ["--ntasks-per-node=1"], "", *arguments)
    assert job.wait() == "COMPLETED", job.output
    assert_laid_out(job, {"n1": "rank 0", "n2": "rank 1"})
    assert_equal_to(alone, tmp_path / "run")


def test_two_jobs_at_the_same_time_with_several_ranks_a_node_train_as_one_process(
    start_cluster, environment, records, alone, tmp_path
):
    """The jobs are isolated; one of them stages its records on each node's own disk."""
    cluster = start_cluster()
    scratch = cluster.folder / "scratch"
    jobs = []
    for name, (layout, options, _), staging in (
        ("two", TWO_EACH, [f"--stage_dir={scratch}", "--keep_staged"]),
        ("three", THREE_CYCLIC, []),
    ):
        arguments = train(records, tmp_path / name, *staging)[3:]
        jobs.append(submit_training(cluster, environment, layout, options, *arguments))
    for job in jobs:
        job.wait(states=("RUNNING", *ENDED))
    assert [job["JobState"] for job in jobs] == ["RUNNING", "RUNNING"], [job.output for job in jobs]
    for job, name, (_, _, ranks) in zip(jobs, ("two", "three"), (TWO_EACH, THREE_CYCLIC)):
        assert job.wait() == "COMPLETED", job.output
        assert_laid_out(job, ranks)
        assert_equal_to(alone, tmp_path / name)
    names = {path.name for path in records.iterdir()}
    for node in (1, 2):
        assert names <= set(cluster.run("find", scratch, "-printf", "%f\n", node=node).split())


def test_a_job_that_is_killed_and_queued_again_ends_with_the_result_of_an_uninterrupted_one(
    start_cluster, batch_script, environment, records, alone, tmp_path
):
    cluster = start_cluster(nodes=2)
    script = batch_script(*train(records, tmp_path / "run", "--config.checkpoint_steps=1"), options="--fail_within=30")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", script, environ=environment)
    job.wait_for("epoch 1/2")
    cluster.run("scontrol", "requeue", job.number)
    assert job.wait() == "COMPLETED", job.output
    assert job["Restarts"] == "1"
    assert_equal_to(alone, tmp_path / "run")


def test_a_job_waits_until_another_process_has_left_its_work_folder(
    start_cluster, batch_script, environment, records, alone, tmp_path
):
    """As after a lost node, when a process of the job before may still be ending there."""
    cluster, workdir = start_cluster(), tmp_path / "run"
    workdir.mkdir()
    with hold_lock(workdir / LOCK_NAME, workdir):
        script = batch_script(*train(records, workdir))
        job = cluster.submit("-N2", "--ntasks-per-node=1", script, environ=environment)
        holder = f"process {os.getpid()} on {re.escape(socket.gethostname())}"
        job.wait_for(f"run: in use by {holder} since .* Waiting for up to 120 s")
        assert not (workdir / "config.json").exists()
    assert job.wait() == "COMPLETED", job.output
    assert_equal_to(alone, workdir)


def test_a_scratch_that_is_too_small_is_reported(start_cluster, batch_script, environment, tmp_path):
    write_records(tmp_path / "large", {"train": 60, "val": 9, "test": 11}, bands="S2_ALL")
    cluster = start_cluster(scratch_mb=1)
    run = train(tmp_path / "large", tmp_path / "run", f"--stage_dir={cluster.folder / 'scratch'}")
    job = cluster.submit(
        "-N2", "--ntasks-per-node=1", batch_script(*run, options="--fail_within=30"), environ=environment
    )
    assert job.wait() == "FAILED", job.output
    assert not (tmp_path / "run").exists()
    last = job.output.strip().splitlines()[-1]
    assert re.search(r"rank \d on n\d failed first", last)
    assert "--stage_dir" in last


@pytest.mark.parametrize("differs", ["data", "code"])
def test_ranks_that_do_not_fit_together_are_refused(
    start_cluster, batch_script, environment, records, tmp_path, differs
):
    """One node sees its own data or code, as when a shared file system is not mounted on it."""
    cluster = start_cluster()
    write_records(tmp_path / "other", {"train": 40, "val": 9, "test": 11}, seed=1)
    local = cluster.folder / "scratch"
    cluster.run("cp", "-r", records, local / "data", node=1)
    cluster.run("cp", "-r", tmp_path / "other" if differs == "data" else records, local / "data", node=2)
    if differs == "code":
        cluster.run("cp", "-r", REPOSITORY / "bigearth_tf", local, node=2)
        cluster.run("sh", "-c", f"echo >>{local}/bigearth_tf/training/losses.py", node=2)
        environment = {**environment, "PYTHONPATH": f"{local}:{environment['PYTHONPATH']}"}
    script = batch_script(*train(local / "data", tmp_path / "run"), options="--fail_within=30")
    job = cluster.submit("-N2", "--ntasks-per-node=1", script, environ=environment)
    assert job.wait() == "FAILED", job.output
    assert job["ExitCode"] == "78:0", job.output
    expected = {"data": "config and data: .*shards_sha256", "code": "software: .*code_sha256"}[differs]
    assert re.search(f"Ranks disagree on {expected}.*rank 1 .*", job.output.strip().splitlines()[-1]), job.output
    assert not (tmp_path / "run").exists()


def test_a_training_that_hangs_is_ended_with_its_stacks(start_cluster, batch_script, environment, records, tmp_path):
    cluster = start_cluster()
    hanging = ["python", Path(__file__).with_name("hanging_train.py")]
    run = train(records, tmp_path / "run", "--config.communication.stall_timeout_s=30", "--config.epochs=4")
    job = cluster.submit(
        "-N2", "--ntasks-per-node=1", batch_script(*hanging, *run[3:], options="--fail_within=30"), environ=environment
    )
    assert job.wait() == "FAILED", job.output
    assert job["ExitCode"] == "70:0", job.output
    last = job.output.strip().splitlines()[-1]
    assert re.search(r"no step for \d+ s; rank 1 on n2 \(process \d+\) has made no progress for longest", last), (
        job.output
    )
    logs = [
        (cluster.folder / "jobs" / "runs" / f"launch-{job.number}" / f"rank-{rank}.log").read_text()
        for rank in range(2)
    ]
    assert "in hang_here" in logs[1]
    # After an epoch rank 0 may wait longer, but the end of rank 1 would have ended it without its stacks.
    assert re.search(r"rank 0: no step for \d+ s. Python stacks:", logs[0]), logs[0]
    assert "in _train_epochs" in logs[0]
    assert not (tmp_path / "run" / "result.json").exists()
    for node in (1, 2):
        assert not cluster.run("pgrep", "-f", "hanging_train.py", node=node, check=False)


def test_gpus_are_bound_by_name(start_cluster, environment, tmp_path):
    """SLURM assigns simulated GPUs; the test checks which of them each rank would use."""
    cluster = start_cluster(gpus=2)
    show = "python -c 'print(1)'"
    for options, bound in (
        (["--gpus-per-node=2"], {"n1": "rank 0 on GPU 0, rank 1 on GPU 1", "n2": "rank 2 on GPU 0, rank 3 on GPU 1"}),
        (["--gpus-per-task=1"], {"n1": "rank 0 on GPU 0, rank 1 on GPU 1", "n2": "rank 2 on GPU 0, rank 3 on GPU 1"}),
        (["--gpus-per-node=1"], {"n1": "rank 0 on GPU 0, rank 1 on GPU 0"}),
    ):
        script = tmp_path / "job.sh"
        script.write_text(f"#!/bin/bash\nexec python -m bigearth_tf.launch -- {show}\n")
        job = cluster.submit("-N2", "--ntasks-per-node=2", *options, script, environ=environment)
        assert job.wait() == "COMPLETED", job.output
        for node, expected in bound.items():
            assert re.search(rf"{node} \(\S+\): {expected}", job.output), job.output


def test_an_array_of_conversion_tasks_writes_what_one_process_writes(start_cluster, environment, tmp_path):
    patches = tmp_path / "patches"
    subprocess.run(
        [sys.executable, "-m", "tfrecord_tools.synthesize", f"--output_dir={patches}", "--num_patches=60"],
        env=environment, check=True, timeout=100, cwd=REPOSITORY,
    )  # fmt: skip
    options = f"--s2={patches}/BigEarthNet-v1.0 --lists_dir={patches}/lists --num_shards=5 --workers=1"
    convert = f"python -m tfrecord_tools.convert {options} --output_dir={tmp_path}"
    cluster = start_cluster()
    alone = cluster.submit(f"--wrap={convert}/alone", environ=environment)
    array = cluster.submit("--array=0-2", f"--wrap={convert}/array", environ=environment)
    finalize = f"--wrap=python -m tfrecord_tools.finalize --output_dir={tmp_path}/array"
    last = cluster.submit(f"--dependency=afterok:{array.number}", finalize, environ=environment)
    assert alone.wait() == "COMPLETED", alone.output
    assert last.wait() == "COMPLETED", last.output
    names = sorted(path.name for path in (tmp_path / "alone").iterdir() if path.is_file())
    assert "manifest.json" in names
    shards = [name for name in names if "tfrecord" in name]
    assert len(shards) >= 5
    for name in [*shards, "manifest.json"]:
        assert (tmp_path / "array" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
