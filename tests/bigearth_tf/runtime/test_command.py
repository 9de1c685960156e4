"""Start-up and end of a command: help, home folders, Ctrl+C, errors."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support import warm_python
from tests.support.paths import REPOSITORY

COMMAND = """
import os, signal, sys, time
from absl import flags
from bigearth_tf.runtime.command import run_command
flags.DEFINE_string("path", None, "A path.")
flags.DEFINE_list("paths", None, "Paths.")
flags.DEFINE_integer("number", 1, "A number.")
def main():
    {main}
run_command(main)
"""


def run(main, *arguments, **options):
    script = COMMAND.replace("{main}", main)
    return warm_python.run(["-c", script, *arguments], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES, **options)


@pytest.mark.parametrize("flag", ["--help", "--helpfull", "--helpshort", "-help"])
def test_help_succeeds(flag):
    result = run("raise AssertionError", flag)
    assert (result.returncode, result.stderr) == (0, "")
    assert "--path: A path." in result.stdout


@pytest.mark.parametrize("flags", [["--number=x", "--help"], ["--unknown"], ["--help=x"]])
def test_a_wrong_flag_fails(flags):
    result = run("raise AssertionError", *flags)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)


def test_a_home_folder_in_a_flag_is_expanded(tmp_path):
    arguments = ["--path=~/data", "--paths=~/a,b/~,~,~x~", "--path=~/data set"]
    result = run("print(flags.FLAGS.path, flags.FLAGS.paths)", *arguments, env={**os.environ, "HOME": str(tmp_path)})
    assert result.stdout == f"{tmp_path}/data set {[f'{tmp_path}/a', 'b/~', str(tmp_path), '~x~']}\n", result.stderr


def test_ctrl_c_ends_a_command_with_one_line():
    result = run("os.kill(os.getpid(), signal.SIGINT); time.sleep(100)")
    assert result.returncode == 130
    assert result.stderr.strip() == "interrupted (Ctrl+C); run the same command to complete the work"


def test_ctrl_c_ends_a_command_with_workers_with_one_line(tmp_path):
    """The terminal sends the signal to every process of the group."""
    arguments = ["-m", "tfrecord_tools.synthesize", "--num_patches=3000", "--workers=2", f"--output_dir={tmp_path}"]
    process = warm_python.start(
        arguments, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("BigEarthNet-v1.0/S2*")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    lines = [line for line in errors.splitlines() if line and not line.startswith("synthesize:")]
    assert lines == ["interrupted (Ctrl+C); run the same command to complete the work"]


def test_a_name_that_is_not_utf_8_can_be_printed():
    script = COMMAND.replace("{main}", "print(flags.FLAGS.path); raise ValueError(flags.FLAGS.path)")
    command = [sys.executable, "-c", script, b"--path=caf\xe9"]
    result = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "LC_ALL": "C.UTF-8"}, capture_output=True)
    assert (result.returncode, result.stdout, result.stderr) == (1, b"caf\\udce9\n", b"error: caf\\udce9\n")


@pytest.mark.parametrize(("most", "fix"), [(64, "a new shell: 64 is the most in this one"), (1024, "`ulimit -n 1024`")])
def test_too_few_open_files_are_an_error_that_names_the_limit(most, fix):
    result = run(
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (16, {most})); "
        "kept = [open('/dev/null') for _ in range(99)]"
    )
    assert result.returncode == 1
    named = (
        f"error: [Errno {errno.EMFILE}] Too many open files: '/dev/null'. This process may open 16 files (`ulimit -n`)"
    )
    assert named in result.stderr
    assert f"Raise that with {fix}; then run the same command." in result.stderr
    assert "Traceback" not in result.stderr
