"""The share of a task: from flags, from a SLURM array, and what is refused."""

import pytest

from bigearth_tf.runtime.array_task import find_task

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "3",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "4",
}


def test_flags_come_before_the_array():
    assert find_task(None, None, {}) == (0, 1)
    assert find_task(None, None, ARRAY) == (2, 4)
    assert find_task(1, 3, ARRAY) == (1, 3)


@pytest.mark.parametrize(
    ("index", "count", "environment", "message"),
    [
        (1, None, {}, "belong together"),
        (0, 0, {}, "--num_tasks=0: expected at least one task"),
        (-1, 3, {}, "--task_index=-1"),
        (3, 3, {}, "--task_index=3 --num_tasks=3"),
        (None, None, {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN"),
    ],
)
def test_what_is_refused(index, count, environment, message):
    with pytest.raises(ValueError, match=message):
        find_task(index, count, environment)
