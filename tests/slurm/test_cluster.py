"""Tests that the cluster of the tests starts for root and for users, is isolated, and leaves nothing behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.slurm_cluster.cluster import LIMIT_S

# A test run that starts a cluster, prints that, and is killed later.
START = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.slurm_cluster.cluster import SlurmCluster, find_obstacle
assert not find_obstacle(), find_obstacle()
with SlurmCluster(Path(sys.argv[2]) / "cluster") as cluster:
    print(cluster.run("srun", "-N2", "id", "-un"), "is up", flush=True)
    if sys.argv[3:]:
        time.sleep(1000)
"""
pytestmark = [pytest.mark.slurm, pytest.mark.full]
USER = ["unshare", "--user", "--map-user=1", "--map-group=1"]  # "daemon", without any right of root.
AS = pytest.mark.parametrize("become", [[], USER], ids=["the same", "an ordinary user"])


def processes_of(folder):
    """Returns the commands that run with the cluster's configuration or folder, as all of its processes do."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if bytes(folder) in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in found if command]


def surroundings():
    return Path("/proc/self/mountinfo").read_text(), os.listdir("/sys/class/net")


def start(become, folder, *arguments):
    if become and subprocess.run([*become, "true"], capture_output=True).returncode:
        pytest.skip("users may not create namespaces here")
    script = [sys.executable, "-c", START, str(REPOSITORY), str(folder), *arguments]
    return subprocess.Popen([*become, *script], stdout=subprocess.PIPE, text=True)


@AS
def test_a_cluster_runs_steps_and_leaves_nothing_behind(cluster_folder, become):
    before = surroundings()
    starting = start(become, cluster_folder)
    output, _ = starting.communicate(timeout=LIMIT_S)
    assert starting.returncode == 0
    assert (
        output.split()[0]
        == output.split()[1]
        == ("daemon" if become else subprocess.check_output(["id", "-un"], text=True).strip())
    )
    assert not processes_of(cluster_folder)
    assert surroundings() == before


@AS
def test_no_process_outlives_a_killed_test_run(cluster_folder, become):
    before = surroundings()
    starting = start(become, cluster_folder, "stay")
    lines = iter(starting.stdout.readline, "")
    assert any("is up" in line for line in lines)
    assert any("slurmctld" in command for command in processes_of(cluster_folder))
    starting.kill()
    starting.wait()
    end = time.monotonic() + LIMIT_S
    while processes_of(cluster_folder):
        assert time.monotonic() < end, processes_of(cluster_folder)
        time.sleep(0.1)
    assert surroundings() == before


def reaches(cluster, node):
    """Returns whether the controller reaches the slurmd of a node."""
    connect = f"import socket; socket.create_connection(('n{node}', 6818), timeout=2)"
    return not cluster.run(sys.executable, "-c", connect, check=False)


def wait_until(condition):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_clusters_next_to_each_other_are_isolated_and_a_fault_affects_one_node(start_cluster):
    first, second = start_cluster(), start_cluster(nodes=1)
    assert sorted(first.run("srun", "-N2", "hostname").split()) == ["n1", "n2"]
    first.submit("--nodelist=n1", "--wrap=sleep 1234")
    nodes = [(first, 1), (first, 2), (second, 1)]
    wait_until(lambda: first.run("pgrep", "-f", "^sleep 1234", node=1, check=False))
    assert not any(cluster.run("pgrep", "-f", "^sleep 1234", node=node, check=False) for cluster, node in nodes[1:])
    assert [reaches(*node) for node in nodes] == [True, True, True]
    first.cut(1)
    assert [reaches(*node) for node in nodes] == [False, True, True]
    first.heal(1)
    wait_until(lambda: reaches(first, 1))
    first.kill_slurmd(1)
    assert [reaches(*node) for node in nodes] == [False, True, True]
    assert first.run("pgrep", "-f", "^sleep 1234", node=1)
    first.crash(1)
    assert not processes_of(first.folder / "spool" / "n1")
    first.boot(1)
    wait_until(lambda: reaches(first, 1))
    assert not first.run("pgrep", "-f", "^sleep 1234", node=1, check=False)
