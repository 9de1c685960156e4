"""The share of a process in work that several tasks share, such as the tasks of a SLURM array."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Set by SLURM for a task of an array.
_ARRAY_VARIABLES = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")


def find_task(
    task_index: int | None, num_tasks: int | None, environment: Mapping[str, str] = os.environ
) -> tuple[int, int]:
    """Returns the index of this task, from 0, and the number of tasks.

    They are those of the flags --task_index and --num_tasks, else those of a SLURM array, else 0 and 1.

    Raises:
        ValueError: Only one flag is given, a number is out of range, or the variables of an array are incomplete.
    """
    if (num_tasks is None) != (task_index is None):
        raise ValueError("--task_index and --num_tasks belong together; give both or neither.")
    if task_index is None or num_tasks is None:
        if "SLURM_ARRAY_TASK_ID" not in environment:
            return 0, 1
        if missing := [name for name in _ARRAY_VARIABLES if name not in environment]:
            raise ValueError(
                f"SLURM_ARRAY_TASK_ID is set, but not {', '.join(missing)}: give --task_index and --num_tasks, or "
                "unset SLURM_ARRAY_TASK_ID to do everything in this process."
            )
        number, first, num_tasks = (int(environment[name]) for name in _ARRAY_VARIABLES)
        task_index = (number - first) // int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
    if not 0 <= task_index < num_tasks:
        raise ValueError(
            f"--task_index={task_index} --num_tasks={num_tasks}: expected at least one task, and an index of 0 ... one "
            "less than their number."
        )
    return task_index, num_tasks
