"""Does a job outlive its time limit, its nodes and its number of nodes?"""

import re
import time

import pytest
from slurm_cluster.cluster import Job

pytest.importorskip("horovod", reason="Horovod is not installed")
pytestmark = pytest.mark.full


def starts(job):
    return [tuple(map(int, found)) for found in re.findall(r"rank 0 of (\d) on n\d begins at (\d+)", job.output)]


def test_before_its_time_is_over_it_saves_and_is_queued_again(start_cluster, stepping, environment):
    cluster = start_cluster()
    # SLURM looks at its clocks now and then: what should come after 30 s may come at once.
    options = ["-N2", "--ntasks-per-node=1", "--requeue", "--signal=B:USR1@90", "--time=2"]
    job = cluster.submit(*options, stepping(steps=400, seconds=0.1), environ=environment)
    job.wait_for("launch: got SIGUSR1; asking all ranks to save and end")
    job.wait_for("launch: the job is queued again and will go on")
    assert job.wait(timeout_s=250) == "COMPLETED", job.output
    assert int(job["Restarts"]) >= 1
    saved = [int(step) for step in re.findall(r"rank 0 saved at (\d+)", job.output)]
    # It goes on at the very step, and not once more when all is done.
    assert saved
    assert sorted({first for _, first in starts(job)}) == [0, *saved]


def test_a_preempted_job_saves_and_is_queued_again(start_cluster, stepping, environment):
    """Within the grace time of its partition it gets SIGTERM, and no more if it ends by itself."""
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(steps=1000), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    cluster.run("scancel", "--batch", "--signal=TERM", job.number)
    assert job.wait(timeout_s=200) == "COMPLETED", job.output
    assert job["Restarts"] == "1"
    assert "launch: exit code 75: asked to stop (SIGTERM)" in job.output
    assert starts(job)[1][1] > 1


def test_of_an_array_only_the_task_that_was_asked_to_stop_is_queued_again(start_cluster, batch_script, environment):
    """The last one of an array has the number of the whole array."""
    cluster = start_cluster()
    task = "echo begun; [ $SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT = 1 ] || exec sleep 12; "
    task += "trap 'exit 75' USR1; sleep 99 & wait"
    options = ["--array=0-1", "--nodes=1", "--requeue", "--output=%A_%a.out"]
    array = cluster.submit(*options, batch_script("bash", "-c", task), environ=environment)
    tasks = [Job(cluster, f"{array.number}_{index}") for index in range(2)]
    for one in tasks:
        one.wait_for("begun")
    assert tasks[1]["JobId"] == array.number
    cluster.run("scancel", "--batch", "--signal=USR1", tasks[1].number)
    for one in tasks:
        assert one.wait(timeout_s=100) == "COMPLETED", one.output
    assert [one["Restarts"] for one in tasks] == ["0", "1"]


def test_done_before_it_could_stop_it_is_not_queued_again(start_cluster, batch_script, environment):
    cluster = start_cluster()
    script = batch_script("bash", "-c", "trap '' USR1; echo deaf; sleep 4")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", script, environ=environment)
    job.wait_for("deaf")
    cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_for("launch: got SIGUSR1; asking all ranks to save and end")
    assert job.wait(timeout_s=60) == "COMPLETED", job.output
    assert "launch: exit code 0: all ranks are done" in job.output
    assert job["Restarts"] == "0"


@pytest.mark.parametrize(("nodes", "then"), [(2, 1), (1, 2)])
def test_queued_again_with_another_number_of_nodes_it_goes_on(start_cluster, stepping, environment, nodes, then):
    cluster = start_cluster()
    options = [f"--nodes={nodes}", "--ntasks-per-node=1", "--requeue"]
    job = cluster.submit(*options, stepping(steps=300), environ=environment)
    job.wait_for(f"rank 0 of {nodes} .* begins at 0")
    time.sleep(2)
    cluster.run("scontrol", "requeuehold", job.number)
    job.wait_for("asked to stop")
    job.wait(states=("PENDING",))
    # The way that the README names.
    cluster.run(
        "scontrol", "update", f"JobId={job.number}", f"NumNodes={then}-{then}", f"NumTasks={then}", f"NumCPUs={then}"
    )
    cluster.run("scontrol", "release", job.number)
    assert job.wait(timeout_s=200) == "COMPLETED", job.output
    assert [ranks for ranks, _ in starts(job)] == [nodes, then]
    assert starts(job)[1][1] > 5


def test_a_node_whose_daemon_has_died_is_replaced(start_cluster, stepping, environment, tmp_path):
    """Its tasks live on, and nobody but the launcher can tell them that the job goes on elsewhere."""
    cluster = start_cluster(nodes=3, slurmd_timeout_s=10)
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(steps=100_000), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    cluster.kill_slurmd(2)
    job.wait_for("rank 0 of 2 .* begins at [1-9]")
    (tmp_path / "enough").touch()
    assert job.wait(timeout_s=60) == "COMPLETED", job.output
    assert job["NodeList"] == "n[1,3]"
    assert job["Restarts"] == "1"
    assert [ranks for ranks, _ in starts(job)] == [2, 2]
    assert starts(job)[1][1] > 5
    assert not cluster.run("pgrep", "-af", "stepping.py", node=2, check=False)


def test_cancelled_it_ends_and_is_not_queued_again(start_cluster, stepping, environment):
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(steps=2000), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    cluster.run("scancel", job.number)
    assert job.wait(timeout_s=60) == "CANCELLED"
    time.sleep(8)
    assert job["JobState"] == "CANCELLED"
    assert job["Restarts"] == "0"
    for node in (1, 2):
        assert not cluster.run("pgrep", "-af", "stepping.py", node=node, check=False)


def test_cancelled_while_it_saves_it_is_not_queued_again(start_cluster, batch_script, environment):
    cluster = start_cluster()
    script = batch_script("bash", "-c", "trap 'sleep 2; exit 75' USR1; echo begun; sleep 99 & wait")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", script, environ=environment)
    job.wait_for("begun")
    cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_for("launch: got SIGUSR1")
    cluster.run("scancel", job.number)
    assert job.wait(timeout_s=60) == "CANCELLED"
    time.sleep(8)
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0")


def test_an_elastic_job_shrinks_and_grows(start_cluster, stepping, environment, tmp_path):
    cluster = start_cluster(nodes=3)
    script = stepping(steps=100_000, options="--fail_within=24 --elastic")
    job = cluster.submit("-N3", "--ntasks-per-node=1", "--no-kill", script, environ=environment)
    job.wait_for("rank 0 of 3 .* begins at 0")
    time.sleep(2)
    cluster.cut(2)
    job.wait_for("rank 0 of 2 .* begins at [1-9]")
    cluster.heal(2)
    job.wait_for("launch: n2 is back")
    job.wait_for("rank 0 of 3 .* begins at [1-9]")
    (tmp_path / "enough").touch()
    assert job.wait(timeout_s=60) == "COMPLETED", job.output
    assert [ranks for ranks, _ in starts(job)] == [3, 2, 3]
    assert sorted(first for _, first in starts(job)) == [first for _, first in starts(job)]


def test_an_elastic_job_with_too_few_nodes_waits_for_others(start_cluster, stepping, environment):
    cluster = start_cluster()
    script = stepping(steps=2000, options="--fail_within=24 --elastic --min_nodes=2")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--no-kill", "--requeue", script, environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    cluster.crash(2)
    job.wait_for("launch: exit code 69: 1 nodes are left, --min_nodes=2: rank 1 on n2 not heard of")
    job.wait_for("launch: the job is queued again and will go on")
