"""Fixtures of the tests of slurm/: a cluster for each file of tests, and commands on its login node."""

import os
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.slurm_cluster.cluster import SlurmCluster
from tests.support.slurm_cluster.folder import new_cluster_folder


@pytest.fixture(scope="module")
def cluster():
    """Returns a cluster of two nodes with four cores and two simulated GPUs each."""
    with new_cluster_folder() as folder, SlurmCluster(folder / "cluster", gpus=2) as running:
        yield running


@pytest.fixture
def login(cluster):
    """Returns a function that runs a command in the cluster's folder of jobs, as a user would."""
    variables = {
        "PYTHONPATH": REPOSITORY,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }

    def run(*command, **more):
        environ = [f"{key}={value}" for key, value in {**variables, **more}.items()]
        return cluster.run("env", *environ, *command, check=False)

    return run
