"""Tests on a real SLURM cluster that every fault ends the job early, with one line that names the first cause."""

import re
import sys
import time

import pytest

from tests.support.slurm_cluster.cluster import LIMIT_S

pytest.importorskip("horovod", reason="Horovod is not installed")
pytestmark = [pytest.mark.slurm, pytest.mark.full]


def last_line(job):
    return job.output.strip().splitlines()[-1]


def seconds_in(job, state="FAILED"):
    """Waits until a job has ended; returns the seconds that took."""
    started = time.monotonic()
    assert job.wait() == state, job.output
    return time.monotonic() - started


def processes_left(cluster, node):
    return cluster.run("pgrep", "-af", "stepping.py", node=node, check=False)


@pytest.mark.parametrize(
    ("fault", "code", "cause"),
    [
        ("kill:1:5", "137:0", "killed by SIGKILL"),
        ("raise:1:5", "1:0", "RuntimeError: boom"),
        ("kill:0:5", "137:0", "killed by SIGKILL"),
    ],
)
def test_a_rank_that_fails_is_named_as_the_cause(start_cluster, stepping, environment, fault, code, cause):
    cluster, rank = start_cluster(), int(fault.split(":")[1])
    job = cluster.submit("-N2", "--ntasks-per-node=1", stepping(fault=fault), environ=environment)
    seconds_in(job)
    assert job["ExitCode"] == code
    assert f"rank {rank} on n{rank + 1} failed first: {cause}; its log: " in last_line(job)
    assert (cluster.folder / "jobs" / "runs" / f"launch-{job.number}" / f"rank-{1 - rank}.log").exists()
    assert not processes_left(cluster, 1) + processes_left(cluster, 2)


def test_a_rank_that_hangs_is_named_with_its_stacks(start_cluster, stepping, environment):
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", stepping(fault="hang:1:5"), environ=environment)
    seconds_in(job)
    assert job["ExitCode"] == "70:0"
    assert re.search(
        r"no step for \d+ s; rank 1 on n2 \(process \d+\) has made no progress for longest", last_line(job)
    )
    logs = [
        (cluster.folder / "jobs" / "runs" / f"launch-{job.number}" / f"rank-{rank}.log").read_text()
        for rank in range(2)
    ]
    assert "in sleep_forever" in logs[1]
    assert "allreduce" in logs[0]
    assert not processes_left(cluster, 1) + processes_left(cluster, 2)


def test_a_frozen_rank_is_named(start_cluster, stepping, environment):
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins")
    cluster.run("pkill", "-STOP", "-f", "^python [^ ]*stepping.py", node=2)
    assert seconds_in(job) < 60
    assert job["ExitCode"] == "69:0"
    assert "rank 1 on n2 failed first: frozen: its process was stopped (SIGSTOP)" in last_line(job)
    assert not processes_left(cluster, 1) + processes_left(cluster, 2)


def test_a_rank_of_which_every_process_is_killed_is_named_and_its_node_is_not_lost(
    start_cluster, stepping, environment
):
    """As when the kernel kills a whole control group for lack of memory."""
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins")
    cluster.run("pkill", "-KILL", "-f", "stepping.py", node=2)
    assert seconds_in(job) < 60
    assert job["Restarts"] == "0"
    assert "launch: exit code 69: rank 1 on n2 ended without a message (exit code 137): killed, " in last_line(job)
    assert not processes_left(cluster, 1) + processes_left(cluster, 2)


def test_a_cut_cable_is_named_and_leaves_no_orphans(start_cluster, stepping, environment):
    cluster = start_cluster(slurmd_timeout_s=20)
    job = cluster.submit("-N2", "--ntasks-per-node=1", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins")
    cluster.cut(2)
    started = time.monotonic()
    job.wait_for("launch: exit code 69: rank 1 on n2 silent for 10 s: the node or its network is lost")
    assert time.monotonic() - started < 60
    end = time.monotonic() + LIMIT_S
    # The unreachable node itself ends its rank.
    while left := processes_left(cluster, 1) + processes_left(cluster, 2):
        assert time.monotonic() < end, left
        time.sleep(0.5)


@pytest.mark.parametrize("node", [2, 1], ids=["another", "the first"])
def test_a_node_without_power_is_replaced_and_the_job_resumes(
    start_cluster, stepping, environment, wait_for_step, end_steps, node
):
    cluster = start_cluster(nodes=3, slurmd_timeout_s=10)
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 on n1 begins at 0")
    wait_for_step(10)
    cluster.crash(node)
    job.wait_for(r"rank 0 of 2 on n\d begins at [1-9]")
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert int(job["Restarts"]) >= 1
    begun = re.findall(r"rank 0 of 2 on (n\d) begins at (\d+)", job.output)
    assert int(begun[-1][1]) > 5
    assert f"n{node}" not in job["NodeList"]
    assert job["NodeList"] == ("n[1,3]" if node == 2 else "n[2-3]")
    assert "launch: exit code 0: all ranks are done" in last_line(job)


def test_nodes_that_resolve_their_own_name_to_loopback_are_refused(start_cluster, stepping, environment):
    cluster = start_cluster(own_name_at_loopback=True)
    job = cluster.submit("-N2", "--ntasks-per-node=1", stepping(), environ=environment)
    seconds_in(job)
    assert job["ExitCode"] == "78:0"
    for rank, node in enumerate(("n1", "n2")):
        refused = re.search(rf"rank {rank} on {node}: {node} resolves its own name to 127.0.1.1, .*", job.output)
        assert refused[0].endswith(f"which an administrator can fix, should be: 10.199.0.1{rank + 1} {node}")


def test_a_missing_interface_is_refused(start_cluster, stepping, environment):
    cluster = start_cluster()
    environment = {**environment, "BIGEARTH_IFACE": "ib0"}
    job = cluster.submit("-N2", "--ntasks-per-node=1", stepping(), environ=environment)
    seconds_in(job)
    assert re.search(r"n1 has no interface 'ib0' with an IPv4 address; it has .*eth0 \(10.199.0.11\)", job.output)


def test_an_interface_other_than_that_of_the_own_name_is_reported(start_cluster, environment):
    cluster = start_cluster(nodes=1)
    ask = "from bigearth_tf.launch.network import check_own_name; print(check_own_name({!r}))"
    command = ["env", f"PYTHONPATH={environment['PYTHONPATH']}", sys.executable, "-c"]
    remark = "Gloo's data go by 10.199.0.11, to which n1 resolves its own name, and not by 10.1.2.3"
    assert cluster.run(*command, ask.format("10.1.2.3"), node=1) == f"{('', remark)}\n"
    assert cluster.run(*command, ask.format("10.199.0.11"), node=1) == "('', '')\n"
