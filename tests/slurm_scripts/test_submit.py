"""Tests that submit shows what it would request, and refuses what cannot work before it queues anything."""

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bigearth_tf.config import DataConfig, TrainConfig
from slurm.cluster import Partition, Request, check_request, find_partition, parse_minutes, read_partitions
from slurm.feasibility import check_trained, check_training
from tests.support.finished_runs import write_finished_run
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

TINY = Path(__file__).with_name("tiny.py")
GPU = Partition("gpu", False, "1-00:00:00", "1-00:00:00", Counter({(64, 4): 2, (32, 8): 1}))
CPU = Partition("cpu", True, "infinite", "infinite", Counter({(16, 0): 10}))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    write_records(folder, {"train": 32, "val": 8, "test": 5})
    return folder


@pytest.fixture
def config(records):
    return TrainConfig(data=DataConfig(data_dir=str(records), bands="RGB"), global_batch_size=8, best_metric="micro_f1")


def submit(*arguments, cwd=REPOSITORY, path=None):
    """Runs submit on a machine without SLURM."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "CUDA_VISIBLE_DEVICES": "",
        "PATH": path or os.environ["PATH"],
    }
    command = [sys.executable, "-m", "slurm.submit", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)


@pytest.fixture
def without_slurm(tmp_path):
    """Returns a PATH with bash and little else."""
    for name in ("bash", "env", "dirname", "git"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return str(tmp_path)


@pytest.fixture
def with_slurm(without_slurm, tmp_path):
    """Returns a PATH with an sinfo of two partitions and an squeue of one job, for `tmp_path/run`."""
    answers = {
        "sinfo": "short|1|8|gpu:2|1-00:00:00|5:00\nshort|2|16|gpu:a100:4(S:0-1)|1-00:00:00|5:00\n"
        "cpu*|10|16|(null)|infinite|n/a",
        "squeue": f"6 other (null)\n7 train {tmp_path / 'run'}",
        "sbatch": "8",
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!{shutil.which('bash')}\necho {shlex.quote(answer)}\n")
        (tmp_path / name).chmod(0o755)
    return without_slurm


def test_a_dry_run_needs_no_slurm_and_shows_everything(records, without_slurm, tmp_path):
    workdir = tmp_path / "run"
    result = submit(
        f"--config={TINY}", "--config.epochs=7", "--config.model_overrides=resolution_px=15, width=1",
        f"--data_dir={records}", f"--workdir={workdir}", "--steps=export,train,evaluate", "--nodes=2",
        "--gpus_per_node=2", "--cpus_per_rank=3", "--time=2-0", "--partition=fast", "--account=me",
        "--sbatch=--qos=high --mem=0", "--dry_run", path=without_slurm,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for line in (
        "2 nodes x 2 ranks = 4 ranks with a GPU each, 3 cores a rank",
        "global batch 8 on 4 ranks: 2 records a rank",
        "records: train 32, val 8, test 5",
        "4 steps an epoch, 7 epochs",
    ):
        assert line in result.stdout.splitlines()
    assert "partition and queue: not checked. There is no sbatch on this machine" in result.stdout
    train, evaluate, export = (line for line in result.stdout.splitlines() if line.startswith("$ "))
    shared = (
        f"--partition=fast --account=me --time=2-0 --output={workdir}/slurm/%x-%j.out --comment={workdir} "
        "--qos=high --mem=0"
    )
    assert train == (
        f"$ BIGEARTH_HOME={REPOSITORY} BIGEARTH_LOGS={workdir}/slurm sbatch --parsable --export=ALL --nodes=2 "
        f"--ntasks-per-node=2 --cpus-per-task=3 --gpus-per-node=2 {shared} {REPOSITORY}/slurm/train.sbatch "
        f"--config={TINY} --config.epochs=7 '--config.model_overrides=resolution_px=15, width=1' "
        f"--data_dir={records} --workdir={workdir}"
    )
    assert "'--dependency=afterok:<job of train>' --kill-on-invalid-dep=yes --nodes=1 --ntasks-per-node=2" in evaluate
    assert "'--dependency=afterok:<job of evaluate>'" in export
    assert "--gpus" not in export
    assert export.endswith(f"slurm/export.sbatch --workdir={workdir} --output_dir={workdir}/model")
    for script in ("train", "evaluate", "export"):
        for line in (REPOSITORY / "slurm" / f"{script}.sbatch").read_text().splitlines():
            assert f"    {line}\n" in result.stdout
    assert not workdir.exists()


def test_a_dry_run_of_the_conversion_shows_its_array_and_what_is_not_known_yet(without_slurm, tmp_path):
    result = submit(
        f"--config={TINY}", f"--data_dir={tmp_path / 'new'}", f"--workdir={tmp_path / 'run'}", "--steps=convert,train",
        f"--convert_args=--s2={tmp_path} --allow_problems=3", "--convert_tasks=5", "--dry_run", path=without_slurm,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"records: not converted yet; whether they fit shows when {tmp_path / 'new'} is" in result.stdout
    convert, finalize, train = (line for line in result.stdout.splitlines() if line.startswith("$ "))
    assert "--array=0-4" in convert
    assert "/slurm/%x-%A_%a.out" in convert
    assert convert.endswith(f"convert.sbatch --s2={tmp_path} --allow_problems=3 --output_dir={tmp_path / 'new'}")
    assert finalize.endswith(f"finalize.sbatch --output_dir={tmp_path / 'new'} --allow_problems=3")
    assert "'--dependency=afterok:<job of finalize>'" in train


def test_an_elastic_run_asks_slurm_to_keep_the_job_when_a_node_is_lost(records, without_slurm, tmp_path):
    arguments = [f"--config={TINY}", f"--data_dir={records}", f"--workdir={tmp_path / 'run'}", "--nodes=2", "--elastic"]
    result = submit(*arguments, "--dry_run", path=without_slurm)
    assert result.returncode == 0, result.stderr
    assert "BIGEARTH_LAUNCH='--elastic --min_nodes=1' sbatch" in result.stdout
    assert " --no-kill " in result.stdout
    assert "global batch 8 on 1 ranks: 8 records a rank" in result.stdout


@pytest.mark.parametrize(("arguments", "message"), [
    (["--steps=train,fly"], "--steps=train,fly: expected some of convert, train, evaluate, export"),
    (["--gpus_per_node=2", "--ranks_per_node=4"], "each rank uses a GPU of its own; leave out --ranks_per_node"),
    (["--min_nodes=1", "--nodes=2"], "--min_nodes=1 is for an elastic run: add --elastic, or leave it out"),
    (["--elastic", "--min_nodes=2"], "--min_nodes=2 is more than --nodes=1"),
    ([], "Training needs --config; experiments/configs/ has some"),
    ([f"--config={TINY}"], "Name the folder of the records with --data_dir"),
    (["--steps=evaluate"], "Name the folder of the records with --data_dir"),
    (["--steps=convert", "--data_dir=x"], "--convert_args='': expected '--s2=FOLDER ...'"),
    (["--steps=convert", "--data_dir=x", "--convert_args=--s2=nowhere"], "--s2=nowhere: no such file or folder"),
    (["--steps=convert", "--data_dir=x", "--convert_args=--s2=slurm --num_tasks=3"], "leave out --num_tasks"),
    ([f"--config={TINY}", "--data_dir=x", "--config.epoch=3"], "epoch"),
    ([f"--config={TINY}", "--data_dir=x", "--steps=convert,train", "--convert_args=--s2=slurm"],
     "There is no sbatch on this machine: submit on a login node"),
])  # fmt: skip
def test_wrong_flags_are_reported_at_once(arguments, message, without_slurm, tmp_path):
    result = submit(f"--workdir={tmp_path / 'run'}", *arguments, path=without_slurm)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [pytest.param(["--dry_run"], marks=pytest.mark.full), []])
def test_a_folder_for_which_jobs_are_queued_is_refused_in_a_dry_run_too(more, records, with_slurm, tmp_path):
    arguments = [f"--config={TINY}", f"--data_dir={records}", "--gpus_per_node=0", *more]
    result = submit(*arguments, f"--workdir={tmp_path / 'run'}", path=with_slurm)
    assert result.returncode == 1
    assert "run: jobs for this folder are queued or running already: 7 (train). Wait for them" in result.stderr
    assert not (tmp_path / "run").exists()
    result = submit(*arguments, f"--workdir={tmp_path / 'another'}", path=with_slurm)
    assert result.returncode == 0, result.stderr
    assert "partition: cpu (10 nodes of 16 cores; time limit infinite)" in result.stdout.splitlines()
    assert ("train: job 8" in result.stdout) == (not more)


def test_the_default_time_of_a_partition_is_read_and_shown_if_it_is_not_the_limit(with_slurm, monkeypatch):
    monkeypatch.setenv("PATH", with_slurm)
    partitions = read_partitions()
    assert partitions == {
        "short": Partition("short", False, "1-00:00:00", "5:00", Counter({(8, 2): 1, (16, 4): 2})),
        "cpu": Partition("cpu", True, "infinite", "infinite", Counter({(16, 0): 10})),
    }
    assert str(partitions["short"]).endswith("; time limit 1-00:00:00, 5:00 without --time)")
    assert str(partitions["cpu"]) == "cpu (10 nodes of 16 cores; time limit infinite)"


def test_help_loads_nothing_heavy():
    script = (
        "import runpy, sys\n"
        "sys.argv = ['submit', '--help']\n"
        "try:\n"
        "    runpy.run_module('slurm.submit', run_name='__main__', alter_sys=True)\n"
        "except SystemExit:\n"
        "    heavy = {'tensorflow', 'keras', 'sklearn'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert not result.stderr
    assert "python -m slurm.submit" in result.stdout


def test_a_partition_is_found_by_name_or_is_the_default():
    partitions = {"gpu": GPU, "cpu": CPU}
    assert find_partition("gpu", partitions) is GPU
    assert find_partition("", partitions) is CPU
    with pytest.raises(ValueError, match=r"no such partition: gpux; there are: gpu \(1 nodes of 32 cores and 8 GPUs"):
        find_partition("gpux", partitions)
    with pytest.raises(ValueError, match=r"no default partition: name one with --partition, of: gpu \("):
        find_partition("", {"gpu": GPU})


FITS = Request(nodes=2, ranks_per_node=4, gpus_per_node=4, cpus_per_rank=16, time="24:00:00")


@pytest.mark.parametrize(("changes", "partition", "message"), [
    ({}, GPU, ""),
    ({"nodes": 3, "cpus_per_rank": 8}, GPU, ""),
    ({"nodes": 3}, GPU, "--nodes=3: nodes of the partition that are large enough: 2; request no more"),
    ({"gpus_per_node": 9}, GPU, "--gpus_per_node=9: no node of the partition has that many.*lower --gpus_per_node"),
    ({}, CPU, "train on CPUs with --gpus_per_node=0"),
    ({"gpus_per_node": 0, "nodes": 10, "cpus_per_rank": 4}, CPU, ""),
    ({"gpus_per_node": 0, "nodes": 11, "cpus_per_rank": 4}, CPU, "--nodes=11: .*large enough: 10; request no more"),
    ({"gpus_per_node": 0}, CPU, "4 ranks a node with --cpus_per_rank=16 need 64 cores, more than a node has"),
    ({"time": "1-1"}, GPU, "--time=1-1: longer than the partition allows.*--time=1-00:00:00 is enough"),
    ({"time": "9"}, GPU, "--time=9: give at least 10 minutes"),
    ({"time": "soon"}, GPU, "--time=soon: expected minutes"),
])  # fmt: skip
def test_a_request_that_fits_into_no_partition_is_refused(changes, partition, message):
    request = dataclasses.replace(FITS, **changes)
    if not message:
        check_request(request, [partition], saves=True)
        return
    with pytest.raises(ValueError, match=message):
        check_request(request, [partition], saves=True)


def test_one_partition_of_several_is_enough():
    check_request(FITS, [CPU, GPU], saves=True)
    with pytest.raises(ValueError, match=r"(?s)--nodes=11: .* enough: 3; .* gpu .*--nodes=11: .* enough: 10; .* cpu "):
        check_request(Request(11, 1, 0, 16), [GPU, CPU], saves=True)


def test_only_training_needs_time_to_save():
    check_request(dataclasses.replace(FITS, time="9"), [GPU], saves=False)


def test_a_job_without_time_gets_the_default_of_the_partition():
    without = dataclasses.replace(FITS, time="")
    check_request(without, [GPU], saves=True)
    short = dataclasses.replace(GPU, default_time="9:00")
    check_request(dataclasses.replace(FITS, time="10"), [short], saves=True)
    check_request(without, [short], saves=False)
    with pytest.raises(ValueError, match=r"^without --time, a job gets 9:00: give at least 10 minutes \(--time=10\); "):
        check_request(without, [short], saves=True)
    for partition in (dataclasses.replace(GPU, time_limit="9:00", default_time=time) for time in ("9:00", "5:00")):
        with pytest.raises(ValueError, match=r": choose another --partition, one that allows 10 minutes; "):
            check_request(without, [partition], saves=True)


def test_times_are_read_as_slurm_writes_them():
    times = {"90": 90, "90:30": 90.5, "2:00:30": 120.5, "2-12": 3600, "1-01:30": 1530, "1-00:00:30": 1440.5}
    assert {text: parse_minutes(text) for text in times} == times
    assert parse_minutes("infinite") == float("inf")


def check(config, workdir, ranks=2):
    return check_training(config, workdir, [ranks], converted_before=False)


@pytest.mark.parametrize(("ranks", "changes", "message"), [
    (3, {}, "global_batch_size=8 cannot be divided among 3 ranks; the nearest that can: "
            "--config.global_batch_size=6 or --config.global_batch_size=9"),
    (16, {}, "the nearest that can: --config.global_batch_size=16"),
    (2, {"optimizer.accumulate": 3}, "among 2 ranks in 3 parts .*: --config.global_batch_size=6 or .*=12"),
    (6, {"global_batch_size": 12}, "6 ranks, but the split test has 5 records"),
    (2, {"global_batch_size": 64}, "global_batch_size=64 is more than the 32 training records"),
    (2, {"data.bands": "S1"}, "VV"),
    (2, {"best_metric": "speed"}, "best_metric='speed': unknown; allowed: auto, micro_precision"),
    (2, {"model": "resnet5"}, "Unknown model 'resnet5'; did you mean resnet50"),
    (2, {"model_overrides": "depht=3"}, "has no field 'depht'"),
    (2, {"epochs": 0}, "epochs"),
    (2, {"epochs": 3, "schedule.warmup_steps": 12}, "leaves nothing of a run of 12 steps; lower it, or train for more"),
    (4, {"global_batch_size": 24, "communication.reduction": "adasum"}, None),
    (3, {"global_batch_size": 24, "communication.reduction": "adasum"}, "needs 1, 2, 4, 8, ... ranks, not 3"),
])  # fmt: skip
def test_a_config_that_does_not_fit_the_data_or_the_ranks_is_refused(config, tmp_path, ranks, changes, message):
    for name, value in changes.items():
        *parents, field = name.split(".")
        setattr(getattr(config, parents[0]) if parents else config, field, value)
    if message is None:
        assert check(config, tmp_path, ranks)
        return
    with pytest.raises(ValueError, match=message):
        check(config, tmp_path, ranks)


def test_the_batch_of_an_elastic_run_must_be_divisible_on_fewer_nodes_too(config, tmp_path):
    config.global_batch_size = 16
    check_training(config, tmp_path, [4, 2], converted_before=False)
    with pytest.raises(ValueError, match="among 3 ranks"):
        check_training(config, tmp_path, [4, 3, 2], converted_before=False)


def test_missing_data_are_refused_unless_they_are_converted_before(config, records, tmp_path):
    incomplete = shutil.copytree(records, tmp_path / "incomplete")
    (incomplete / "val-00001-of-00002.tfrecord").unlink()
    for folder, message in (("nowhere", "there is no manifest"), ("incomplete", "val-00001-of-00002.tfrecord")):
        config.data.data_dir = str(tmp_path / folder)
        with pytest.raises(FileNotFoundError, match=message):
            check(config, tmp_path / "run")
    config.data.data_dir = str(tmp_path / "nowhere")
    assert "not converted yet" in check_training(config, tmp_path / "run", [2], converted_before=True)[-1]


def test_the_folder_of_another_run_is_refused_and_a_finished_one_accepted(config, records, tmp_path):
    from bigearth_tf.data.manifest import read_manifest

    write_finished_run(tmp_path / "run", read_manifest(records))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(ValueError, match=r'belongs to another run(.|\n)*"global_batch_size": 8'):
        check(config, tmp_path / "run")
    same = TrainConfig(
        model="wide_resnet_eca_b0", model_overrides="resolution_px=15, width=0.5", data=dataclasses.replace(config.data)
    )
    same.global_batch_size = 256
    with pytest.raises(ValueError, match="more than the 32 training records"):
        check(same, tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == written
    check_trained(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="that run has not finished. Add train to --steps"):
        check_trained(tmp_path)
