"""Tests that the watchdog ends a process that makes no progress, even if the shared folder hangs as well."""

import os
import signal
import subprocess
import time

from tests.support import warm_python
from tests.support.paths import REPOSITORY

# The main thread hangs, and from some moment on every write to the work folder hangs as well.
SCRIPT = """
import sys, threading, time
from pathlib import Path
from bigearth_tf.distributed import watchdog
from bigearth_tf.distributed.replica import Replica

dog = watchdog.Watchdog(Path(sys.argv[1]), Replica(), timeout_s=1.0)
with dog.watch():
    dog.beat("step 1")
    if sys.argv[2] == "hangs":
        watchdog._REPORT_S = 1.0
        watchdog.write_json_atomically = lambda *_: threading.Event().wait()
    time.sleep(100_000)
"""


def run_until_ended(folder, how, error_file="error"):
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BIGEARTH_ERROR_FILE": str(folder / error_file),
    }
    result = warm_python.run(["-c", SCRIPT, folder / "work", how], env=environment)
    assert result.returncode == 70
    assert "Python stacks" in result.stderr
    assert "watching" in result.stderr or "<string>" in result.stderr
    return result.stderr, (folder / "error").read_text() if error_file == "error" else ""


def test_it_reports_the_last_place_of_the_process(tmp_path):
    output, error = run_until_ended(tmp_path, "works")
    assert "rank 0 on" in output and "step 1" in output
    assert "has made no progress for longest" in error


def test_a_folder_that_hangs_does_not_prevent_the_end(tmp_path):
    _, error = run_until_ended(tmp_path, "hangs")
    assert "no step for" in error


def test_an_error_file_that_cannot_be_written_does_not_prevent_the_end(tmp_path):
    output, _ = run_until_ended(tmp_path, "works", error_file="removed/error")
    assert "ending the job. Last place of every rank:" in output


SCRIPT_OF_A_RANK = """
import sys, time
from pathlib import Path
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.watchdog import Watchdog

rank, timeout_s = int(sys.argv[2]), float(sys.argv[3])
dog = Watchdog(Path(sys.argv[1]), Replica(rank=rank, world_size=2), timeout_s)
with dog.watch():
    dog.beat("step 1")
    time.sleep(100_000)
"""


def test_a_rank_with_a_longer_limit_shows_its_stacks_when_another_gives_up(tmp_path):
    """The file `stalled` that an earlier run has left in the folder has no effect."""
    (tmp_path / "work" / "ranks").mkdir(parents=True)
    (tmp_path / "work" / "ranks" / "stalled").touch()

    def start(rank, timeout_s):
        command = ["-c", SCRIPT_OF_A_RANK, tmp_path / "work", rank, timeout_s]
        with (tmp_path / f"{rank}.log").open("w") as log:
            return warm_python.start(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=log)

    other = start(0, 1000)
    try:
        while not (tmp_path / "work" / "ranks" / "0.json").exists():
            time.sleep(0.1)
        time.sleep(4)
        assert not (tmp_path / "0.log").read_text()
        assert start(1, 1).wait(timeout=500) == 70
        assert other.poll() is None
        assert "rank 0: no step for" in (tmp_path / "0.log").read_text()
        assert 'File "<string>", line 11 in <module>' in (tmp_path / "0.log").read_text()
    finally:
        other.kill()


# Steps of 0.3 s, the limit is 1 s; it ends by itself after the file was created.
SCRIPT_OF_STEPS = """
import sys, time
from pathlib import Path
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.distributed.watchdog import Watchdog

dog = Watchdog(Path(sys.argv[1]), Replica(), timeout_s=1.0)
with dog.watch():
    dog.beat("step 0")
    print("begun", flush=True)
    step = 0
    while not (Path(sys.argv[1]) / "enough").exists():
        for _ in range(30):
            time.sleep(0.01)
        dog.beat(f"step {step}")
        step += 1
"""


def test_a_process_that_was_suspended_continues(tmp_path):
    """As by Ctrl+Z and `fg`, or by `scontrol suspend` and `resume`; the suspension is three times the limit."""
    process = warm_python.start(
        ["-c", SCRIPT_OF_STEPS, tmp_path],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    (tmp_path / "enough").touch()
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
