"""Clusters for the tests: each has one of its own, which is up within a second."""

import contextlib
import itertools
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from slurm_cluster.cluster import SlurmCluster, why_not

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def cluster_folder():
    """A new folder where a cluster can be started; of a short path, as sockets are below it."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start_cluster(cluster_folder):
    """Returns a function that starts a cluster, which ends with the test."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(SlurmCluster(cluster_folder / str(next(numbers)), **options))


@pytest.fixture(scope="session")
def environment():
    """Returns the variables of a user whose environment is this one."""
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
    """Returns a function that writes a batch script of stepping.py."""

    def write(steps=20, seconds=0.05, fault="", **options):
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
