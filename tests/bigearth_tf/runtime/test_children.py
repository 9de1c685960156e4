"""Children of every command end when the command ends, in whatever way it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import warm_python
from tests.support.paths import REPOSITORY

LIMIT_S = 60
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
POOL = """
import time
from tfrecord_tools.parallel import map_in_processes
if __name__ == "__main__":
    list(map_in_processes(time.sleep, [100_000] * 4, workers=2))
"""
CHILD = """
import sys
from bigearth_tf.runtime.children import start_child
start_child([sys.executable, "-c", "import time; time.sleep(100_000)"]).wait()
"""
SYNTHESIZE = ["-m", "tfrecord_tools.synthesize", "--num_patches=3000", "--workers=2"]
LAUNCH = ["-m", "bigearth_tf.launch", "--ranks=2"]
SLEEP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(100_000)"]


def members(session):
    """Returns process id -> command line of every living process of a session, and of those started by its processes.

    A process that started its own session is found by its parent.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state not in "ZX":
            found[int(folder.name)] = (int(parent), int(group), command)
    ours = {session}
    for _ in range(4):
        ours |= {process for process, (parent, group, _) in found.items() if parent in ours or group in ours}
    return {process: found[process][2] for process in ours & set(found)}


def wait_until(condition):
    end = time.monotonic() + LIMIT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def check_ends(arguments, number, count, tmp_path):
    """Starts a command, ends it when it has `count` children, and checks that all are gone."""
    with (tmp_path / "output").open("w") as output:
        process = warm_python.start(
            arguments, cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES, start_new_session=True,
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        assert wait_until(lambda: len(children_of(process)) >= count), (tmp_path / "output").read_text()
        children = children_of(process)
        process.send_signal(number)
        process.wait(timeout=LIMIT_S)
        assert wait_until(lambda: not any(is_running(child) for child in children)), children
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)


def children_of(process):
    # The tracker of multiprocessing holds no memory, and ends by itself when the last worker has ended.
    return {
        pid: command
        for pid, command in members(process.pid).items()
        if pid != process.pid and "resource_tracker" not in command
    }


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_the_processes_of_a_pool_end_with_their_parent(tmp_path, number):
    check_ends(["-c", POOL], number, 2, tmp_path)


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_started_process_ends_with_its_parent(tmp_path, number):
    check_ends(["-c", CHILD], number, 1, tmp_path)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(end, marks=pytest.mark.full) for end in ENDS[:3])],
    ids=lambda end: end.name,
)
def test_the_workers_of_a_command_end_with_it(tmp_path, number):
    check_ends([*SYNTHESIZE, f"--output_dir={tmp_path / 'out'}"], number, 2, tmp_path)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(end, marks=pytest.mark.full) for end in ENDS[:3])],
    ids=lambda end: end.name,
)
def test_the_ranks_of_a_launch_end_with_it(tmp_path, number):
    pytest.importorskip("horovod", reason="Horovod is not installed")
    check_ends([*LAUNCH, f"--log_dir={tmp_path}", "--", *SLEEP], number, 4, tmp_path)


def test_warm_processes_end_with_the_tests(tmp_path):
    script = (
        "import subprocess, sys, time\nfrom tests.support import warm_python\n"
        "child = warm_python.start(['-c', 'import time; time.sleep(100_000)'], modules=())\n"
        "print(child.pid, flush=True)\ntime.sleep(100_000)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        assert is_running(child)
        process.kill()
        process.wait()
        assert wait_until(lambda: not is_running(child))


def test_no_other_module_starts_a_process_that_goes_on():
    starters = ("Popen(", "ProcessPoolExecutor(", "os.fork(", "multiprocessing.Process(", "preexec_fn=")
    places = {
        f"{path.relative_to(REPOSITORY)}: {starter}"
        for package in ("bigearth_tf", "tfrecord_tools", "experiments", "slurm", "benchmarks")
        for path in (REPOSITORY / package).rglob("*.py")
        for starter in starters
        if starter in path.read_text(encoding="utf-8")
    }
    assert places == {
        "bigearth_tf/runtime/children.py: Popen(",
        "bigearth_tf/runtime/children.py: preexec_fn=",
        "tfrecord_tools/parallel.py: ProcessPoolExecutor(",  # Its initializer is `children.initializer`.
    }


RUNS_A_CHILD = """
import sys
from bigearth_tf.runtime.children import run_child
print("code", run_child([sys.executable, "-c", sys.argv[1]]), flush=True)
"""
SAVES_ON = """
import signal, sys, time
def save(*_):
    time.sleep(1)
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.{name}, save)
print("begun", flush=True)
time.sleep(100_000)
"""


@pytest.mark.parametrize(
    ("name", "send"),
    [
        ("SIGINT", lambda process: os.killpg(process.pid, signal.SIGINT)),  # As a terminal does.
        ("SIGTERM", lambda process: process.send_signal(signal.SIGINT)),
        ("SIGTERM", lambda process: process.kill()),
    ],
)
def test_a_child_has_time_to_save_when_its_parent_is_interrupted_or_ends(name, send):
    process = warm_python.start(
        ["-c", RUNS_A_CHILD, SAVES_ON.format(name=name)], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES,
        start_new_session=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    send(process)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert output.startswith("saved\n")
    assert (output == "saved\ncode 75\n") == (process.returncode == 0)
