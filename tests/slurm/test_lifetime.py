"""Tests on a real SLURM cluster that a job survives its time limit, the loss of nodes and a new number of nodes."""

import re
import time

import pytest

from tests.support.slurm_cluster.cluster import LIMIT_S, Job

pytest.importorskip("horovod", reason="Horovod is not installed")
pytestmark = pytest.mark.slurm


def wait_for_the_end_of_launch(cluster):
    """Waits until the launcher has ended on the job's first node; after that nothing could queue the job again."""
    end = time.monotonic() + LIMIT_S
    while cluster.run("pgrep", "-f", "bigearth_tf.launch", node=1, check=False):
        assert time.monotonic() < end, "the launcher has not ended"
        time.sleep(0.1)


def starts(job):
    return [tuple(map(int, found)) for found in re.findall(r"rank 0 of (\d) on n\d begins at (\d+)", job.output)]


@pytest.mark.full
def test_a_job_saves_before_its_time_is_over_and_is_queued_again(start_cluster, stepping, environment, end_steps):
    cluster = start_cluster()
    # SLURM checks times every 30 s and may send the signal up to 30 s early: 30 to 60 s after the start.
    options = ["-N2", "--ntasks-per-node=1", "--requeue", "--signal=B:USR1@60", "--time=2"]
    job = cluster.submit(*options, stepping(), environ=environment)
    job.wait_for("launch: got SIGUSR1; asking all ranks to save and end")
    job.wait_for("launch: the job is queued again and will resume")
    job.wait_for("rank 0 of 2 .* begins at [1-9]")
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert int(job["Restarts"]) >= 1
    saved = [int(step) for step in re.findall(r"rank 0 saved at (\d+)", job.output)]
    # It resumes at exactly the saved step, and does not run again after its end.
    assert saved
    assert sorted({first for _, first in starts(job)}) == [0, *saved]


def test_a_preempted_job_saves_and_is_queued_again(start_cluster, stepping, environment, wait_for_step, end_steps):
    """SLURM sends SIGTERM, and nothing more if the job ends within the grace time of its partition."""
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    wait_for_step(2)
    cluster.run("scancel", "--batch", "--signal=TERM", job.number)
    job.wait_for("rank 0 of 2 .* begins at [1-9]")
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert job["Restarts"] == "1"
    assert "launch: exit code 75: asked to stop (SIGTERM)" in job.output
    assert starts(job)[1][1] > 1


@pytest.mark.full
def test_a_suspended_job_continues(start_cluster, stepping, environment, wait_for_step, end_steps):
    """The suspension is longer than the time after which a silent rank or launcher is lost."""
    cluster = start_cluster()
    script = stepping(options="--fail_within=12")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--no-requeue", script, environ=environment)
    wait_for_step(2)
    cluster.run("scontrol", "suspend", job.number, as_root=True)
    assert job["JobState"] == "SUSPENDED"
    time.sleep(8)
    cluster.run("scontrol", "resume", job.number, as_root=True)
    time.sleep(2)
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert "launch: exit code 0: all ranks are done" in job.output


@pytest.mark.full
def test_only_the_stopped_task_of_an_array_is_queued_again(start_cluster, batch_script, environment, tmp_path):
    """The last task of an array has the id of the whole array."""
    cluster = start_cluster()
    task = "echo begun; if [ $SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT = 1 ]; then "
    task += f"trap 'exit 75' USR1; sleep 999 & wait; fi; until [ -e {tmp_path}/enough ]; do sleep 0.1; done"
    options = ["--array=0-1", "--nodes=1", "--requeue", "--output=%A_%a.out"]
    array = cluster.submit(*options, batch_script("bash", "-c", task), environ=environment)
    tasks = [Job(cluster, f"{array.number}_{index}") for index in range(2)]
    for one in tasks:
        one.wait_for("begun")
    assert tasks[1]["JobId"] == array.number
    cluster.run("scancel", "--batch", "--signal=USR1", tasks[1].number)
    tasks[1].wait_for(r"(?s)begun.*begun")
    (tmp_path / "enough").touch()
    for one in tasks:
        assert one.wait() == "COMPLETED", one.output
    assert [one["Restarts"] for one in tasks] == ["0", "1"]


@pytest.mark.full
def test_a_job_that_finishes_instead_of_stopping_is_not_queued_again(
    start_cluster, batch_script, environment, tmp_path
):
    cluster = start_cluster()
    script = batch_script(
        "bash", "-c", f"trap '' USR1; echo ignores; until [ -e {tmp_path}/enough ]; do sleep 0.1; done"
    )
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", script, environ=environment)
    job.wait_for("ignores")
    cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_for("launch: got SIGUSR1; asking all ranks to save and end")
    (tmp_path / "enough").touch()
    assert job.wait() == "COMPLETED", job.output
    assert "launch: exit code 0: all ranks are done" in job.output
    assert job["Restarts"] == "0"


@pytest.mark.full
def test_a_job_that_is_queued_again_with_another_number_of_nodes_resumes(
    start_cluster, stepping, environment, wait_for_step, end_steps
):
    """From two nodes to one, and back to two."""
    cluster = start_cluster()
    job = cluster.submit("--nodes=2", "--ntasks-per-node=1", "--requeue", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    for number, (nodes, then) in enumerate(((2, 1), (1, 2)), start=1):
        wait_for_step(starts(job)[-1][1] + 10)
        cluster.run("scontrol", "requeuehold", job.number)
        job.wait_for(f"(?s)(asked to stop.*){{{number}}}")
        job.wait(states=("PENDING",))
        # The commands of slurm/README.md.
        size = (f"NumNodes={then}-{then}", f"NumTasks={then}", f"NumCPUs={then}")
        cluster.run("scontrol", "update", f"JobId={job.number}", *size)
        cluster.run("scontrol", "release", job.number)
        job.wait_for(f"(?s)(rank 0 of {nodes} .* begins at .*)rank 0 of {then} on n. begins at [1-9]")
        assert starts(job)[-1][1] > starts(job)[-2][1] + 5
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert [ranks for ranks, _ in starts(job)] == [2, 1, 2]


@pytest.mark.full
def test_a_node_without_its_daemon_is_replaced(start_cluster, stepping, environment, wait_for_step, end_steps):
    """Its tasks continue to run; only the launcher can end them when the job resumes on other nodes."""
    cluster = start_cluster(nodes=3, slurmd_timeout_s=10)
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    wait_for_step(10)
    cluster.kill_slurmd(2)
    job.wait_for("rank 0 of 2 .* begins at [1-9]")
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert job["NodeList"] == "n[1,3]"
    assert job["Restarts"] == "1"
    assert [ranks for ranks, _ in starts(job)] == [2, 2]
    assert starts(job)[1][1] > 5
    assert not cluster.run("pgrep", "-af", "stepping.py", node=2, check=False)


@pytest.mark.full
def test_a_cancelled_job_ends_and_is_not_queued_again(start_cluster, stepping, environment):
    cluster = start_cluster()
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", stepping(), environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    cluster.run("scancel", job.number)
    assert job.wait() == "CANCELLED"
    wait_for_the_end_of_launch(cluster)
    assert job["JobState"] == "CANCELLED"
    assert job["Restarts"] == "0"
    for node in (1, 2):
        assert not cluster.run("pgrep", "-af", "stepping.py", node=node, check=False)


@pytest.mark.full
def test_a_job_that_is_cancelled_while_it_saves_is_not_queued_again(start_cluster, batch_script, environment):
    cluster = start_cluster()
    script = batch_script("bash", "-c", "trap 'sleep 20; exit 75' USR1; echo begun; sleep 999 & wait")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--requeue", script, environ=environment)
    job.wait_for("begun")
    cluster.run("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_for("launch: got SIGUSR1")
    cluster.run("scancel", job.number)
    assert job.wait() == "CANCELLED"
    wait_for_the_end_of_launch(cluster)
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0")


@pytest.mark.full
def test_an_elastic_job_shrinks_and_grows(start_cluster, stepping, environment, wait_for_step, end_steps):
    cluster = start_cluster(nodes=3)
    script = stepping(options="--fail_within=24 --elastic")
    job = cluster.submit("-N3", "--ntasks-per-node=1", "--no-kill", script, environ=environment)
    job.wait_for("rank 0 of 3 .* begins at 0")
    wait_for_step(10)
    cluster.cut(2)
    job.wait_for("rank 0 of 2 .* begins at [1-9]")
    cluster.heal(2)
    job.wait_for("launch: n2 is back")
    job.wait_for("rank 0 of 3 .* begins at [1-9]")
    end_steps()
    assert job.wait() == "COMPLETED", job.output
    assert [ranks for ranks, _ in starts(job)] == [3, 2, 3]
    assert sorted(first for _, first in starts(job)) == [first for _, first in starts(job)]


@pytest.mark.full
def test_an_elastic_job_with_too_few_nodes_waits_for_others(start_cluster, stepping, environment):
    cluster = start_cluster()
    script = stepping(options="--fail_within=24 --elastic --min_nodes=2")
    job = cluster.submit("-N2", "--ntasks-per-node=1", "--no-kill", "--requeue", script, environ=environment)
    job.wait_for("rank 0 of 2 .* begins at 0")
    cluster.crash(2)
    job.wait_for("launch: exit code 69: 1 nodes are left, --min_nodes=2: rank 1 on n2 silent for")
    job.wait_for("launch: the job is queued again and will resume")
