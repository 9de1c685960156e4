"""Conversions that are killed, shared, run twice at once or out of disk space lose nothing and give the same bytes.

The conversions are real processes of the commands. Processes that load TensorFlow do so at the same time.
"""

import contextlib
import errno
import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.locks import hold_lock
from tests.support import warm_python
from tests.support.archives import random_pixels, write_lists, write_pair
from tests.support.files import contents
from tests.support.paths import REPOSITORY
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.conversion.finalization import finalize
from tfrecord_tools.conversion.shards import WORK_DIR
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import open_source


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    for index in range(24):
        write_pair(root, index, ["Pastures"], lambda band, index=index: random_pixels(band, index))
    write_lists(root / "lists", {"train": list(range(16)), "val": list(range(16, 20)), "test": list(range(20, 24))})
    return root


def source_of(archive):
    return open_source("bigearthnet_v1", SourceInputs(s2=str(archive / "s2"), lists_dir=str(archive / "lists")))


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "whole"
    convert(source_of(archive), folder, ConversionOptions(num_shards=4))
    return contents(folder)


def start(archive, output_dir, *flags, environment=None, command="convert"):
    """Starts a conversion as a user does, with pipes for its output and errors."""
    flags = [f"--output_dir={output_dir}", *flags]
    if command == "convert":
        flags += [f"--s2={archive / 's2'}", f"--lists_dir={archive / 'lists'}", "--num_shards=4", "--workers=1"]
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    return warm_python.start(
        ["-m", f"tfrecord_tools.{command}", *flags],
        cwd=REPOSITORY,
        env={**variables, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Returns the exit code and the output."""
    out, error = process.communicate(timeout=500)
    assert "Traceback" not in error, error
    return process.returncode, out + error


def progress_of(folder):
    """Returns a number that grows with every shard and with every few records."""
    with contextlib.suppress(FileNotFoundError):
        parts = [path.stat().st_size for path in (*folder.glob("*.tfrecord"), *(folder / WORK_DIR).glob("*.tmp"))]
        return sum(parts)
    return 0


def test_a_conversion_killed_at_random_moments_gives_the_same_bytes(archive, whole, tmp_path):
    rng, out, kills = random.Random(0), tmp_path / "out", 0
    total = sum(len(content) for name, content in whole.items() if name != MANIFEST_NAME)
    while not (out / MANIFEST_NAME).exists():
        process, before = start(archive, out), progress_of(out)
        # Up to a third of everything is written before the next kill, which may be within a shard or between two.
        enough = before + rng.random() * total / 3
        while process.poll() is None and progress_of(out) <= enough:
            time.sleep(rng.random() * 0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
        assert not [path for path in out.glob("*.tfrecord") if path.read_bytes() != whole[path.name]], "half a shard"
    assert kills >= 2
    assert end(start(archive, out))[0] == 0
    assert contents(out) == whole


def test_tasks_and_finalize_give_the_bytes_of_one_conversion(archive, whole, tmp_path):
    out = tmp_path / "out"
    # As an array of SLURM with indices 5, 7 and 9, and as flags; all at once.
    array = {"SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
    last = start(archive, out, environment={**array, "SLURM_ARRAY_TASK_ID": "9"})
    flagged = start(archive, out, "--task_index=0", "--num_tasks=3")
    for process, name in ((last, "task 2 of 3 is done"), (flagged, "task 0 of 3 is done")):
        code, said = end(process)
        assert (code, name in said) == (0, True), said
        assert "python -m tfrecord_tools.finalize" in said
        assert re.search(r"convert: .*\| 1/\d+ \[", said), said  # The first patch is shown.
    assert not (out / MANIFEST_NAME).exists()
    code, said = end(start(archive, out, command="finalize"))
    assert code == 1
    assert "4 of 12 shards are not written yet. They are those of task 1 of 3." in said
    advised = re.search(r"Run each again \((--task_index=1) (--num_tasks=3)\), then finalize", said)
    code, said = end(start(archive, out, *advised.groups()))
    assert (code, "task 1 of 3 is done" in said) == (0, True), said
    code, said = end(start(archive, out, command="finalize"))
    assert (code, "train: 16 records in 4 shards" in said) == (0, True), said
    assert contents(out) == whole


def test_a_part_of_the_variables_of_an_array_is_an_error_that_names_the_flags(archive, tmp_path):
    code, said = end(start(archive, tmp_path / "out", environment={"SLURM_ARRAY_TASK_ID": "3"}))
    assert code == 1
    assert "but not SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_COUNT: give --task_index and --num_tasks" in said


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 2, 0)])
def test_the_order_of_tasks_does_not_matter(archive, whole, tmp_path, order):
    for task in order:
        assert (
            convert(source_of(archive), tmp_path, ConversionOptions(num_shards=4, task_index=task, num_tasks=3)) is None
        )
    finalize(tmp_path)
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 2)])
def test_a_task_index_out_of_range_is_refused(archive, tmp_path, index, count):
    with pytest.raises(ValueError, match=f"--task_index={index}: expected 0 ... {count - 1}"):
        convert(source_of(archive), tmp_path / "out", ConversionOptions(task_index=index, num_tasks=count))


HELD = """
import dataclasses, os, sys, time
from pathlib import Path
from tfrecord_tools.conversion.convert_source import ConversionOptions, convert
from tfrecord_tools.sources import SourceInputs, open_source

archive, out, go, index, count = sys.argv[1:]
source = open_source("bigearthnet_v1", SourceInputs(s2=f"{archive}/s2", lists_dir=f"{archive}/lists"))

def read(ref):
    if not os.path.exists(go):
        print("begun", flush=True)
    while not os.path.exists(go):
        time.sleep(0.01)
    return source.read(ref)

options = ConversionOptions(num_shards=4, task_index=int(index), num_tasks=int(count))
convert(dataclasses.replace(source, read=read), Path(out), options)
"""


@contextlib.contextmanager
def held(archive, output_dir, index=0, count=1):
    """Yields a process that waits at the first patch of a conversion, then lets it finish."""
    go = output_dir.with_name(f"{output_dir.name}-go")
    process = warm_python.start(
        ["-c", HELD, archive, output_dir, go, index, count],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "begun\n"
        yield process
        go.touch()
        process.communicate(timeout=500)
    finally:
        process.kill()


def test_two_conversions_into_one_folder_exclude_each_other(archive, whole, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    source = source_of(archive)
    refused = "in use by process"
    lone = ConversionOptions(num_shards=4)
    one_task, other_task = (ConversionOptions(num_shards=4, task_index=index, num_tasks=2) for index in (0, 1))
    with held(archive, alone) as first, held(archive, shared, 0, 2) as task:
        for options in (lone, one_task):
            with pytest.raises(
                ValueError, match=f"{alone}: {refused} {first.pid} on .* since .*Wait for it, or end it"
            ):
                convert(source, alone, options)
        code, said = end(start(archive, alone))
        assert (code, refused in said) == (1, True), said
        with pytest.raises(ValueError, match=f"{shared}, task 0-of-2: {refused} {task.pid} on "):
            convert(source, shared, one_task)
        with pytest.raises(ValueError, match=f"{shared}: {refused} {task.pid} on .* Wait for it"):
            convert(source, shared, lone)
        assert convert(source, shared, other_task) is None
    assert first.returncode == task.returncode == 0
    finalize(shared)
    assert contents(alone) == contents(shared) == whole


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK], ids=errno.errorcode.get)
def test_a_file_system_without_flock_serves_too(archive, whole, tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for task in range(2):
        convert(source_of(archive), tmp_path, ConversionOptions(num_shards=4, task_index=task, num_tasks=2))
    with (
        hold_lock(tmp_path / ".lock", tmp_path),
        pytest.raises(ValueError, match=f"in use by process {os.getpid()} on"),
    ):
        finalize(tmp_path)
    finalize(tmp_path)
    assert contents(tmp_path) == whole


def test_a_lock_ends_with_its_process(archive, whole, tmp_path):
    with held(archive, tmp_path / "out") as process:
        process.kill()
        process.wait()
        assert convert(source_of(archive), tmp_path / "out", ConversionOptions(num_shards=4))
    assert contents(tmp_path / "out") == whole


def test_a_full_disk_loses_nothing(archive, whole, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        for _ in range(2):
            code, said = end(start(archive, mount / "out"))
            assert code == 1
            assert "cannot be written" in said
            assert "Free some space, and run the same command" in said
            assert not (mount / "out" / MANIFEST_NAME).exists()
            assert not list((mount / "out" / WORK_DIR).glob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        convert(source_of(archive), mount / "out", ConversionOptions(num_shards=4))
        assert contents(mount / "out") == whole
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_source_that_disappears_is_an_error_and_not_a_broken_patch(archive, whole, tmp_path):
    source, root = source_of(archive), archive / "s2"
    read, reads = source.read, []

    def vanishing(ref):
        reads.append(ref)
        if len(reads) == 9:
            root.rename(archive / "unplugged")
        return read(ref)

    object.__setattr__(source, "read", vanishing)
    try:
        with pytest.raises(FileNotFoundError, match="the source has disappeared.*run the same command"):
            convert(source, tmp_path, ConversionOptions(num_shards=4))
    finally:
        (archive / "unplugged").rename(root)
    assert not (tmp_path / "problems.csv").exists()
    assert list(tmp_path.glob("*.tfrecord"))
    convert(source_of(archive), tmp_path, ConversionOptions(num_shards=4))
    assert contents(tmp_path) == whole


def test_an_output_that_cannot_be_written_gives_one_message(archive, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere/at/all")
    outputs = (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/records"))
    for process, output in [(start(archive, output), output) for output in outputs]:
        code, said = end(process)
        assert code == 1
        assert f"error: {output}" in said or f"'{output}" in said, said
    assert (tmp_path / "file").read_text() == "mine"
