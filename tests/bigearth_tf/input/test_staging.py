"""Staging: one whole copy per host, resumed after a kill, and the same run with or without it."""

import contextlib
import dataclasses
import errno
import fcntl
import importlib.util
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from bigearth_tf.data.manifest import Shard, read_manifest, write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.input.staging import stage_dataset, stage_folder
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.runtime.locks import hold_lock
from tests.support import warm_python
from tests.support.finished_runs import write_finished_run
from tests.support.horovod_ranks import Ranks
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

NUM_SHARDS = 24


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "records"
    write_records(folder, {"train": 40, "val": 9, "test": 11})
    return folder


@pytest.fixture(scope="module")
def large(small, tmp_path_factory):
    """Returns a folder of shards of random bytes, large enough that copying them takes a while."""
    folder = tmp_path_factory.mktemp("large")
    shards = []
    for index in range(NUM_SHARDS):
        path = folder / f"train-{index}.tfrecord"
        path.write_bytes(np.random.default_rng(index).bytes(7_000_000))
        shards.append(Shard(path.name, "train", 1, path.stat().st_size, file_sha256(path), (1, 0, 0)))
    write_manifest(dataclasses.replace(read_manifest(small), shards=tuple(shards)), folder)
    return folder


STAGE = """
import sys
from absl import logging
from bigearth_tf.input.staging import stage_dataset
logging.set_verbosity(logging.INFO)
data_dir, stage_dir, keep = sys.argv[1:]
with stage_dataset(data_dir, stage_dir, ["train"], keep=keep == "keep") as folder:
    print("staged", folder, flush=True)
    sys.stdin.read()
"""


def start(data_dir, stage_dir, keep="", script=STAGE):
    """Starts a process that stages a data set, and exits when its standard input ends."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return warm_python.start(["-c", script, data_dir, stage_dir, keep], env=environment, **pipes)


def wait_for(condition, process):
    while not condition() and process.poll() is None:
        time.sleep(0.001)
    assert condition(), process.communicate()


def shards_in(folder):
    return {path.name: path for path in folder.glob("*/train-*")}


def check_same_bytes(folder, source):
    for shard in read_manifest(source).shards:
        assert (folder / shard.name).read_bytes() == (source / shard.name).read_bytes(), shard.name


def test_splits_to_read_are_copied_others_are_linked_and_all_is_removed(small, tmp_path):
    with stage_dataset(small, str(tmp_path / "scratch"), ["train"]) as name:
        folder = Path(name)
        check_same_bytes(folder, small)
        assert read_manifest(folder) == read_manifest(small)
        assert {path.name[:4] for path in folder.glob("[a-z]*.tfrecord") if path.is_symlink()} == {"val-", "test"}
        # Meanwhile another run of the same user reads more splits of the same data.
        with stage_dataset(small, str(tmp_path / "scratch"), ["train", "val"]) as other:
            assert other == name
            assert not (folder / "val-00000-of-00002.tfrecord").is_symlink()
        assert folder.exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_disk_without_flock_serves_too(small, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        stage_dataset(small, str(tmp_path), ["train"]) as name,
        stage_dataset(small, str(tmp_path), ["train"]) as other,
    ):
        assert name == other
        check_same_bytes(Path(name), small)
    assert not list(tmp_path.iterdir())


def test_nothing_is_staged_by_default(small):
    with stage_dataset(small, "", ["train"]) as folder:
        assert folder == str(small)


def test_a_kept_copy_is_used_again_and_a_changed_shard_is_copied_again(small, tmp_path, monkeypatch):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "scratch"))
    with stage_dataset(small, "${NODE_DISK}", ["train"], keep=True) as name:
        folder = Path(name)
        assert folder.parent == tmp_path / "scratch"
    first, second = sorted(folder.glob("train-*"))
    numbers = [path.stat().st_ino for path in (first, second)]
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    with stage_dataset(small, "$NODE_DISK", ["train"], keep=True):
        check_same_bytes(folder, small)
        assert first.stat().st_ino == numbers[0]
        assert second.stat().st_ino != numbers[1]
    # A file without its marker is checked, not copied.
    for marker in folder.glob(".*.checked"):
        marker.unlink()
    with stage_dataset(small, "$NODE_DISK", ["train"]):
        assert first.stat().st_ino == numbers[0]
        assert len(list(folder.glob(".*.checked"))) == 2
    assert not list(folder.parent.iterdir())


def test_other_data_with_the_same_names_have_another_folder(small, tmp_path):
    write_records(tmp_path / "other", {"train": 40, "val": 9, "test": 11}, seed=1)
    with (
        stage_dataset(small, str(tmp_path), ["train"]) as one,
        stage_dataset(tmp_path / "other", str(tmp_path), ["train"]) as two,
    ):
        check_same_bytes(Path(one), small)
        check_same_bytes(Path(two), tmp_path / "other")


def test_the_processes_of_a_host_copy_once_and_the_last_one_removes_the_copy(large, tmp_path):
    processes = [start(large, tmp_path) for _ in range(4)]
    assert all(process.stdout.readline().startswith("staged ") for process in processes)
    log = ""
    for process in processes:
        assert len(shards_in(tmp_path)) == NUM_SHARDS
        log += process.communicate(timeout=500)[1]
        assert process.returncode == 0
    assert log.count(f"copied {NUM_SHARDS} shards") == 1
    assert not list(tmp_path.iterdir())


def test_copying_resumes_after_a_kill(large, tmp_path):
    for wanted in (1, 9):
        process = start(large, tmp_path)
        wait_for(lambda: len(shards_in(tmp_path)) >= wanted, process)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    whole = {name: path.stat().st_ino for name, path in shards_in(tmp_path).items()}
    assert 9 <= len(whole) < NUM_SHARDS
    assert not list(tmp_path.glob("*/manifest.json"))
    process = start(large, tmp_path, keep="keep")
    _, err = process.communicate(timeout=500)
    assert f"copied {NUM_SHARDS - len(whole)} shards" in err
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    check_same_bytes(folder, large)
    assert {name: (folder / name).stat().st_ino for name in whole} == whole
    assert not list(folder.glob(".*.tmp"))


def test_a_damaged_shard_is_named_and_the_copy_is_removed(large, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for path in large.iterdir():
        (source / path.name).symlink_to(path)
    damaged = source / "train-3.tfrecord"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:1000] + b"!" + content[1001:])
    message = "train-3.tfrecord: its content does not match the SHA-256 of the manifest.*verify"
    with pytest.raises(ValueError, match=message), stage_dataset(source, str(tmp_path / "scratch"), ["train"]):
        pass
    assert not list((tmp_path / "scratch").iterdir())


HANG = """
import time
from pathlib import Path
from bigearth_tf.input import shard_copies
shard_copies._STALL_TIMEOUT_S = 3
open_file = Path.open
def open_or_hang(self, *args, **options):
    if self.name == "train-3.tfrecord":
        time.sleep(100_000)
    return open_file(self, *args, **options)
Path.open = open_or_hang
"""


def test_a_file_system_that_does_not_answer_ends_the_process(large, tmp_path):
    """The thread that opens a shard never returns: only the exit of the process ends it."""
    process = start(large, tmp_path, script=HANG + STAGE)
    _, err = process.communicate(timeout=500)
    assert process.returncode == 70
    assert re.search(rf"staging on \S+: no byte came from {large} within 3 s; reading train-3.tfrecord\. ", err)
    assert "in open_or_hang" in err
    # The shards that were copied remain for the next attempt.
    assert len(shards_in(tmp_path)) == NUM_SHARDS - 1


def test_a_folder_that_cannot_be_used_is_reported(small, tmp_path):
    message = r"there is no variable \$NO_SUCH_VARIABLE"
    with pytest.raises(ValueError, match=message), stage_dataset(small, "$NO_SUCH_VARIABLE/x", ["train"]):
        pass
    with (
        pytest.raises(FileNotFoundError, match="there is no manifest"),
        stage_dataset(tmp_path, str(tmp_path), ["train"]),
    ):
        pass


@contextlib.contextmanager
def disk_of(size, folder):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1_000_000))


def test_a_disk_that_is_too_small_is_refused_before_copying(large, tmp_path):
    with disk_of(100_000_000, tmp_path / "disk") as disk:
        process = start(large, disk)
        _, err = process.communicate(timeout=500)
        assert process.returncode == 1
        assert f"{disk} on " in err
        assert re.search(r"168,\d\d\d,\d\d\d bytes are needed, (99|100),\d\d\d,\d\d\d are free", err)
        assert "name another --stage_dir" in err
        assert not list(disk.iterdir())


def test_a_disk_that_others_fill_during_copying_is_reported_the_same_way_and_left_clean(large, tmp_path):
    with disk_of(250_000_000, tmp_path / "disk") as disk:
        process = start(large, disk)
        wait_for(lambda: list(disk.glob("*/.train-*.tmp")), process)
        process.send_signal(signal.SIGSTOP)
        assert len(shards_in(disk)) < NUM_SHARDS
        fill(disk / "theirs")
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=500)
        assert process.returncode == 1
        assert "is too small to stage" in err.splitlines()[-1]
        assert [path.name for path in disk.iterdir()] == ["theirs"]


CONFIG = """
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig
def get_config():
    return TrainConfig(
        model="mlp_mixer_tiny", model_overrides="resolution_px=15, patch_size=5, dim=8, depth=1, tokens_dim=8",
        data=DataConfig(bands="RGB", shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3), epochs=2, global_batch_size=4, best_metric="micro_f1",
        checkpoint_steps=2)
"""


def train_command(tmp_path, data, workdir, *flags):
    (tmp_path / "config.py").write_text(CONFIG)
    places = [f"--config={tmp_path / 'config.py'}", f"--data_dir={data}", f"--workdir={workdir}"]
    return ["-m", "experiments.train", *places, *flags]


def test_a_staged_run_that_is_killed_and_resumed_without_staging_is_the_same_run(small, tmp_path):
    options = {"cwd": REPOSITORY, "env": {**os.environ, "CUDA_VISIBLE_DEVICES": ""}}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    never = warm_python.start(train_command(tmp_path, small, tmp_path / "never"), **options, **pipes)
    scratch, workdir = tmp_path / "scratch", tmp_path / "staged"
    process = warm_python.start(train_command(tmp_path, small, workdir, f"--stage_dir={scratch}"), **options, **pipes)
    wait_for(lambda: list(workdir.glob("checkpoints/latest/*.index")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (workdir / "result.json").exists()
    assert len(list(scratch.glob("*/*.tfrecord"))) == 6
    warm_python.run(train_command(tmp_path, small, workdir), **options, check=True)
    assert never.wait(timeout=500) == 0, never.communicate()
    for name in ("config.json", "history.jsonl"):
        assert (workdir / name).read_bytes() == (tmp_path / "never" / name).read_bytes(), name
    results = [json.loads((folder / "result.json").read_text()) for folder in (workdir, tmp_path / "never")]
    for result in results:
        del result["train_seconds"], result["input_share"]
    assert results[0] == results[1]


@pytest.mark.skipif(importlib.util.find_spec("horovod") is None, reason="Horovod is not installed")
def test_ranks_wait_for_the_host_that_copies_longest(small, tmp_path):
    """Each rank has its own disk, as on two hosts; one rank is delayed for longer than Horovod waits."""
    write_finished_run(tmp_path / "run", read_manifest(small))
    delayed = stage_folder(str(tmp_path / "disk-1"), ShardedDataset.open(small))
    delayed.mkdir()
    command = ["-m", "experiments.evaluate", f"--workdir={tmp_path / 'run'}", f"--data_dir={small}", "--draws=5"]
    command += ["--ranking_draws=2", f"--stage_dir={tmp_path}/disk-$HOROVOD_RANK", f"--output={tmp_path / 'output'}"]
    with hold_lock(delayed / ".copying", delayed):
        # Horovod's timeout allows for a loaded machine; the other rank is delayed for longer.
        ranks = Ranks(2, command, HOROVOD_GLOO_TIMEOUT_SECONDS="20")
        while not list(tmp_path.glob("disk-0/*/manifest.json")) and ranks.poll() is None:
            time.sleep(0.01)
        time.sleep(25)
        assert ranks.poll() is None, ranks.output()
    finished = ranks.wait()
    assert finished.codes == [0, 0], finished.output[-5000:]
    assert (tmp_path / "output" / "evaluation.json").exists()
    assert "pre-flight: ranks: 2" in finished.output
    assert not [path for disk in tmp_path.glob("disk-*") for path in disk.iterdir()]
