"""Tests of launches on one host: ranks start together, and the first one that fails ends all and is named."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from bigearth_tf.launch import launcher
from bigearth_tf.launch.launcher import Launch
from bigearth_tf.launch.task_starters import LocalStarter
from bigearth_tf.runtime.stop_signal import StopSignal
from tests.support import warm_python
from tests.support.paths import REPOSITORY

pytest.importorskip("horovod", reason="Horovod is not installed")
# Modules that the launcher loads.
MODULES = ("bigearth_tf.launch.launcher", "bigearth_tf.launch.elastic", "horovod.runner.http.http_server")
# That of a process which neither SLURM nor another launcher has started.
CLEAN_ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("HOROVOD_", "SLURM_"))},
    "PYTHONPATH": str(REPOSITORY),
}
SLEEP = "import time; print('begun', flush=True); time.sleep(100_000)"


def launch(tmp_path, script, *options, ranks=2, fail_within=12, wait=True, environ=None, command=None):
    run = command or [sys.executable, "-c", script]
    command = ["-m", "bigearth_tf.launch", f"--log_dir={tmp_path / 'logs'}"]
    command += [f"--fail_within={fail_within}", *([f"--ranks={ranks}"] if ranks else []), *options]
    process = warm_python.start(
        [*command, "--", *run],
        modules=MODULES,
        env={**CLEAN_ENVIRONMENT, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return finish(process) if wait else process


def finish(process):
    output, _ = process.communicate(timeout=500)
    return process.returncode, output


def wait_for(text, path):
    end = time.monotonic() + 500
    while time.monotonic() < end:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"{text!r} not in {path}")


def on_rank_1(failure):
    return f"import os, signal, sys, time\nif os.environ['HOROVOD_RANK'] == '1':\n    {failure}\ntime.sleep(100_000)"


def test_all_ranks_run_and_each_has_a_log(tmp_path):
    script = "import os; print('rank', os.environ['HOROVOD_RANK'], 'of', os.environ['HOROVOD_SIZE'])"
    code, output = launch(tmp_path, script, ranks=3)
    assert code == 0, output
    for rank in range(3):
        assert f"rank {rank} of 3" in (tmp_path / "logs" / f"rank-{rank}.log").read_text()
    assert "rank 0 of 3" in output
    assert "rank 1 of 3" not in output
    assert "launch: exit code 0: all ranks are done" in output


@pytest.mark.parametrize(
    ("failure", "code", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by SIGKILL"),
        ("sys.exit('no such thing')", 1, "exit code 1: no such thing"),
        pytest.param("os._exit(3)", 3, "exit code 3", marks=pytest.mark.full),
        ("os.kill(os.getpid(), signal.SIGSTOP)", 69, "frozen: its process was stopped"),
    ],
)
def test_the_first_rank_that_fails_ends_all_and_is_named(tmp_path, failure, code, cause):
    found, output = launch(tmp_path, on_rank_1(failure))
    assert found == code, output
    last = output.strip().splitlines()[-1]
    assert re.search(rf"launch: exit code {code}: rank 1 on \S+ failed first: {cause}", last), output
    assert str(tmp_path / "logs" / "rank-1.log") in last


COMMAND = """
import os, time
from bigearth_tf.runtime.command import run_command
def main():
    if os.environ["HOROVOD_RANK"] == "{failing}":
        time.sleep({after})
        raise RuntimeError("boom")
    {others}
run_command(main)
"""


def test_a_consequence_that_is_noticed_first_is_not_the_cause(tmp_path):
    script = COMMAND.format(failing=1, after=1.5, others="raise ConnectionError('lost another rank')")
    code, output = launch(tmp_path, script)
    assert code == 1
    assert "rank 1 on" in output.splitlines()[-1]
    assert "RuntimeError: boom" in output.splitlines()[-1]


def test_the_other_ranks_print_their_stacks(tmp_path):
    script = COMMAND.format(failing=1, after=0, others="hang = time.sleep; hang(100_000)")
    launch(tmp_path, script)
    assert 'File "<string>", line 8 in main' in (tmp_path / "logs" / "rank-0.log").read_text()


@pytest.mark.parametrize("send", [
    lambda process: process.send_signal(signal.SIGTERM),
    lambda process: os.killpg(process.pid, signal.SIGINT),  # Like Ctrl+C, which reaches all processes of a terminal.
    lambda process: os.killpg(process.pid, signal.SIGHUP),  # Like the end of an ssh connection.
], ids=["SIGTERM", "Ctrl+C", "hangup"])  # fmt: skip
def test_a_signal_reaches_all_ranks_and_stopping_is_no_failure(tmp_path, send):
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (print('saved', flush=True), sys.exit(75)))\n"
        "print('begun', flush=True)\ntime.sleep(100_000)"
    )
    process = launch(tmp_path, script, wait=False)
    for rank in range(2):
        wait_for("begun", tmp_path / "logs" / f"rank-{rank}.log")
    send(process)
    code, output = finish(process)
    assert code == 75, output
    for rank in range(2):
        wait_for("saved", tmp_path / "logs" / f"rank-{rank}.log")


def test_a_signal_while_the_ranks_end_does_not_turn_a_complete_run_into_a_stopped_one(tmp_path):
    script = """
import atexit, os, time
from bigearth_tf.runtime.command import run_command
def end():
    print("ending", flush=True)
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.1)
def main():
    atexit.register(end)
run_command(main)
"""
    go = tmp_path / "go"
    process = launch(tmp_path, script, wait=False, environ={"GO": str(go)})
    for rank in range(2):
        wait_for("ending", tmp_path / "logs" / f"rank-{rank}.log")
    process.send_signal(signal.SIGUSR1)
    # The ranks end only after the launcher has had the signal.
    assert any("launch: got SIGUSR1" in line for line in process.stdout)
    go.touch()
    code, output = finish(process)
    assert code == 0, output


def test_a_rank_that_loses_a_stopped_rank_has_not_failed(tmp_path):
    """This happens when the signal comes while some ranks still start: it kills those, and the others lose them."""
    others = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); print('begun', flush=True);"
    others += "signal.sigwait([signal.SIGUSR1]); time.sleep(5); raise ConnectionError('lost another rank')"
    process = launch(tmp_path, COMMAND.format(failing=1, after=100, others=others), wait=False)
    wait_for("begun", tmp_path / "logs" / "rank-0.log")
    process.send_signal(signal.SIGUSR1)
    code, output = finish(process)
    assert code == 75, output
    assert "launch: exit code 75: asked to stop (SIGUSR1); the same command resumes the run" in output


def test_ranks_that_do_not_stop_when_asked_are_ended_and_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_STOP_WITHIN_S", 2.0)
    ignores_signals = f"import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); {SLEEP}"
    stop_signal = StopSignal()
    launch = Launch(LocalStarter([sys.executable, "-c", ignores_signals], 2), tmp_path, 20, 12, stop_signal)

    def stop_once_they_ignore_signals():
        for rank in range(2):
            wait_for("begun", tmp_path / f"rank-{rank}.log")
        stop_signal.received = "SIGUSR1"

    Thread(target=stop_once_they_ignore_signals).start()
    outcome = launch.run()
    assert (outcome.code, outcome.stopped_by) == (75, "SIGUSR1")
    assert outcome.cause == "asked to stop (SIGUSR1); some ranks did not stop within 2 s and were ended"


def test_ranks_have_time_to_stop_after_a_launch_that_took_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_STOP_WITHIN_S", 3.0)
    saves = f"import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(0.5), sys.exit(75))); {SLEEP}"
    stop_signal = StopSignal()
    launch = Launch(LocalStarter([sys.executable, "-c", saves], 1), tmp_path, 20, 12, stop_signal)

    def stop_after_more_than_the_limit():
        wait_for("begun", tmp_path / "rank-0.log")
        time.sleep(3.5)
        stop_signal.received = "SIGUSR1"

    Thread(target=stop_after_more_than_the_limit).start()
    assert launch.run().cause == "asked to stop (SIGUSR1); the same command resumes the run"


def test_a_signal_before_a_launch_ends_it(tmp_path):
    stop_signal = StopSignal()
    stop_signal.received = "SIGUSR1"
    start = LocalStarter([sys.executable, "-c", SLEEP], 2)
    outcome = Launch(start, tmp_path / "logs", start_timeout_s=20, fail_within_s=12, stop_signal=stop_signal).run()
    assert (outcome.code, outcome.stopped_by) == (75, "SIGUSR1")


def test_a_second_ctrl_c_ends_all_ranks_at_once(tmp_path):
    ignores_signals = f"import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); {SLEEP}"
    process = launch(tmp_path, ignores_signals, fail_within=6, wait=False)
    for rank in range(2):
        wait_for("begun", tmp_path / "logs" / f"rank-{rank}.log")
    process.send_signal(signal.SIGINT)
    assert any("asking all ranks to save and end" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 130, output
    assert "launch: exit code 130: interrupted again; all ranks were ended, and the same command resumes" in output
    assert "Traceback" not in output


def test_a_launch_that_is_suspended_suspends_its_ranks_and_continues(tmp_path):
    """As by Ctrl+Z and `fg`. The suspension is longer than the time after which a silent rank or launcher is lost."""
    until_go = "import os, time; print('begun', os.getpid(), flush=True)\nwhile not os.path.exists(os.environ['GO']):"
    script = f"{until_go} time.sleep(0.1)"
    process = launch(tmp_path, script, fail_within=6, wait=False, environ={"GO": str(tmp_path / "go")})
    ranks = []
    for rank in range(2):
        log = tmp_path / "logs" / f"rank-{rank}.log"
        wait_for("begun", log)
        ranks.append(int(log.read_text().split()[1]))
    process.send_signal(signal.SIGTSTP)
    for number in (*ranks, process.pid):
        wait_for(") T ", Path(f"/proc/{number}/stat"))
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    time.sleep(1)
    (tmp_path / "go").touch()
    code, output = finish(process)
    assert code == 0, output


def test_the_default_folder_of_logs_is_one_that_git_ignores(tmp_path):
    process = warm_python.run(
        ["-m", "bigearth_tf.launch", "--ranks=1", "--", "true"], modules=MODULES, cwd=tmp_path, env=CLEAN_ENVIRONMENT
    )
    assert process.returncode == 0, process.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"launch-\d{8}-\d{6}", folder.name)
    assert [path.name for path in folder.iterdir()] == ["rank-0.log"]


def test_no_rank_outlives_a_killed_launcher(tmp_path):
    script = SLEEP.replace("'begun'", "'begun', os.getpid()").replace("import time", "import os, time")
    process = launch(tmp_path, script, fail_within=6, wait=False)
    for rank in range(2):
        wait_for("begun", tmp_path / "logs" / f"rank-{rank}.log")
    process.kill()
    finish(process)
    left = [int((tmp_path / "logs" / f"rank-{rank}.log").read_text().split()[1]) for rank in range(2)]
    end = time.monotonic() + 500
    while left and time.monotonic() < end:
        left = [number for number in left if Path(f"/proc/{number}").exists()]
        time.sleep(0.2)
    assert not left


def test_a_missing_command_and_an_impossible_log_folder_are_reported(tmp_path):
    process = launch(tmp_path, "", wait=False, command=["no_such_program"])
    code, output = finish(process)
    assert code == 127
    assert "no_such_program: [Errno 2] No such file or directory" in output.splitlines()[-1]
    (tmp_path / "file").write_text("")
    code, output = launch(tmp_path, SLEEP, f"--log_dir={tmp_path / 'file'}")
    assert code != 0
    assert "File exists" in output


def test_under_another_launcher_the_command_only_runs(tmp_path):
    code, output = launch(tmp_path, "print('here')", ranks=None, environ={"HOROVOD_RANK": "0"})
    assert (code, output) == (0, "here\n")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--ranks=0"], "--ranks: expected 1 or more"),
        (["--ranks=2", "--elastic"], "--elastic and --srun are for a SLURM job"),
        (["--ranks=2", "--srun=--label"], "--elastic and --srun are for a SLURM job"),
        (["--min_nodes=2"], "--min_nodes and --max_nodes need --elastic"),
        (["--elastic", "--min_nodes=3", "--max_nodes=2"], "expected 1 <= --min_nodes <= --max_nodes"),
        (["--elastic", "--min_nodes=0"], "expected 1 <= --min_nodes <= --max_nodes"),
        (["--ranks=2", "--fail_within=0"], "--fail_within and --start_timeout: expected seconds above 0"),
        ([], "this is no SLURM job; give --ranks=N"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, options, complaint):
    code, output = launch(tmp_path, SLEEP, *options, ranks=None)
    assert code != 0
    assert complaint in output
