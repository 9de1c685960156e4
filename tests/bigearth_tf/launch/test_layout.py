"""Tests that SLURM's variables, for any distribution of tasks over nodes, become those of Horovod."""

import os

import pytest

from bigearth_tf.launch.layout import (
    Place,
    choose_device_name,
    expand_counts,
    find_place_in_step,
    make_horovod_variables,
    make_thread_variables,
)


@pytest.mark.parametrize(
    ("text", "counts"), [("1", (1,)), ("2(x3),1", (2, 2, 2, 1)), ("4,2(x2)", (4, 2, 2)), ("10(x1)", (10,))]
)
def test_counts_are_expanded(text, counts):
    assert expand_counts(text) == counts


@pytest.mark.parametrize("text", ["", "2x3", "2(3)", "a"])
def test_a_malformed_list_of_counts_is_refused(text):
    with pytest.raises(ValueError, match="expected a list as SLURM writes it, such as"):
        expand_counts(text)


def step(rank, local_rank, node, tasks):
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(local_rank),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_TASKS_PER_NODE": "9",  # As sbatch planned it; the step has another layout.
    }


def test_an_uneven_block_distribution():
    variables = make_horovod_variables(find_place_in_step(step(2, 0, 1, "2,1")), "n2", "eth0")
    assert variables["HOROVOD_RANK"] == "2"
    assert variables["HOROVOD_SIZE"] == "3"
    assert (variables["HOROVOD_LOCAL_RANK"], variables["HOROVOD_LOCAL_SIZE"]) == ("0", "1")
    assert (variables["HOROVOD_CROSS_RANK"], variables["HOROVOD_CROSS_SIZE"]) == ("1", "2")
    assert (variables["HOROVOD_HOSTNAME"], variables["HOROVOD_GLOO_IFACE"]) == ("n2", "eth0")
    # The second rank of the first node is alone among second ranks.
    second = make_horovod_variables(find_place_in_step(step(1, 1, 0, "2,1")), "n1", "eth0")
    assert (second["HOROVOD_CROSS_RANK"], second["HOROVOD_CROSS_SIZE"]) == ("0", "1")


def test_a_cyclic_distribution():
    # Ranks 0 and 2 are on the first node, 1 and 3 on the second.
    variables = make_horovod_variables(find_place_in_step(step(2, 1, 0, "2(x2)")), "n1", "eth0")
    assert (variables["HOROVOD_RANK"], variables["HOROVOD_LOCAL_RANK"]) == ("2", "1")
    assert (variables["HOROVOD_CROSS_RANK"], variables["HOROVOD_CROSS_SIZE"]) == ("0", "2")


def test_a_middle_node_counts_the_nodes_before_it():
    place = Place(rank=5, local_rank=1, node=2, tasks_per_node=(3, 1, 2))
    variables = make_horovod_variables(place, "n3", "eth0")
    assert (variables["HOROVOD_CROSS_RANK"], variables["HOROVOD_CROSS_SIZE"]) == ("1", "2")


@pytest.mark.parametrize(
    ("environ", "threads"),
    [
        ({"SLURM_PROCID": "0", "SLURM_CPUS_PER_TASK": "7", "SLURM_CPUS_ON_NODE": "16"}, "7"),
        ({"SLURM_PROCID": "0", "SLURM_CPUS_ON_NODE": "16"}, "8"),
        ({"SLURM_PROCID": "0", "SLURM_CPUS_ON_NODE": "1"}, "1"),
        ({}, str(max(1, len(os.sched_getaffinity(0)) // 2))),
    ],
)
def test_threads_are_the_share_of_the_allocated_cores(environ, threads):
    variables = make_thread_variables(Place(0, 0, 0, (2,)), environ)
    assert variables == {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}


@pytest.mark.parametrize(
    ("visible", "device"),
    [("0,1", "GPU 1"), ("GPU-a,GPU-b", "GPU GPU-b"), ("3", "GPU 3"), ("", "cpu"), ("-1", "cpu"), (None, "cpu")],
)
def test_the_device_is_the_bound_gpu_or_that_of_the_local_rank(visible, device):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert choose_device_name(Place(1, 1, 0, (2,)), environ) == device
