"""Fixtures of the tests on SLURM: a cluster for each test, which starts within a second, and batch scripts."""

import contextlib
import itertools
import shlex
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.slurm_cluster.cluster import LIMIT_S, SlurmCluster
from tests.support.slurm_cluster.folder import new_cluster_folder


@pytest.fixture
def cluster_folder():
    """Returns a new folder in which a cluster can be started."""
    with new_cluster_folder() as folder:
        yield folder


@pytest.fixture
def start_cluster(cluster_folder):
    """Returns a function that starts a cluster; it ends with the test."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(SlurmCluster(cluster_folder / str(next(numbers)), **options))


@pytest.fixture(scope="session")
def environment():
    """Returns environment variables of a user who works in this environment."""
    return {
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


@pytest.fixture
def batch_script(tmp_path):
    """Returns a function that writes a batch script which launches a command, and returns its path."""

    def write(*command, options="--fail_within=30"):
        path = tmp_path / "job.sh"
        launch = f"python -m bigearth_tf.launch {options} --"
        path.write_text(f"#!/bin/bash\nexec {launch} {shlex.join(map(str, command))}\n")
        return path

    return write


@pytest.fixture
def stepping(tmp_path, batch_script):
    """Returns a function that writes a batch script of stepping.py; see `end_steps` for how it ends."""

    def write(steps=1_000_000, seconds=0.05, fault="", **options):
        command = [
            "python",
            Path(__file__).with_name("stepping.py"),
            tmp_path,
            steps,
            seconds,
            *([fault] if fault else []),
        ]
        return batch_script(*command, **options)

    return write


@pytest.fixture
def wait_for_step(tmp_path):
    """Returns a function that waits until the ranks of stepping.py have saved at least that step."""

    def wait(step):
        state, end = tmp_path / "state", time.monotonic() + LIMIT_S
        while not state.exists() or int(state.read_text()) < step:
            assert time.monotonic() < end, f"step {step} was not reached"
            time.sleep(0.1)

    return wait


@pytest.fixture
def end_steps(tmp_path):
    """Returns a function that lets the ranks of stepping.py end after their current step."""
    return (tmp_path / "enough").touch
