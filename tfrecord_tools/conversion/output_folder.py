"""The output folder of a conversion: what else it may contain, and who may write into it."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from bigearth_tf.runtime.locks import hold_lock
from bigearth_tf.runtime.system_files import list_own_files, shorten_names
from tfrecord_tools.conversion.shards import WORK_DIR, ShardPlan

# The plan of all tasks, in `_conversion/`.
PLAN_NAME = "plan.json"
LOCK_NAME = ".lock"
PROBLEMS_NAME = "problems.csv"
_PROBLEMS_OF_TASK = re.compile(r"problems-\d+-of-\d+\.csv")


def is_problems_table(name: str) -> bool:
    """Returns whether a file is a table of broken patches, of the whole conversion or of a task."""
    return name == PROBLEMS_NAME or bool(_PROBLEMS_OF_TASK.fullmatch(name))


def require_own_files(output_dir: Path, shard_names: Collection[str], repair: bool) -> None:
    """Checks that a folder without manifest and plan contains nothing but shards of this conversion.

    Args:
        output_dir: The folder.
        shard_names: The shards of the plan.
        repair: Whether such shards may be there.

    Raises:
        ValueError: It contains other files, or shards that only a repair may take over.
    """
    names = [name for name in list_own_files(output_dir) if name != WORK_DIR and not is_problems_table(name)]
    foreign = [name for name in names if name not in shard_names]
    if foreign:
        raise ValueError(
            f"{output_dir}: contains other files, {shorten_names(foreign)}. "
            "Name a new or empty folder with --output_dir."
        )
    if names and not repair:
        raise ValueError(
            f"{output_dir}: contains {len(names)} shards, but neither a manifest nor the plan of a conversion. Run the "
            "same command with --repair: it keeps the shards that are as planned and writes the others. Or name "
            "another folder with --output_dir."
        )


def require_same(
    output_dir: Path,
    stored_shards: Sequence[str],
    stored_options: dict[str, Any],
    plans: Sequence[ShardPlan],
    options: dict[str, Any],
) -> None:
    """Checks that a folder belongs to this conversion.

    Args:
        output_dir: The folder.
        stored_shards: Names of the shards there.
        stored_options: What decided their bytes.
        plans: The shards of this conversion.
        options: What decides the bytes of these.

    Raises:
        ValueError: It belongs to another; the message says what differs.
    """
    different = [key for key in {**stored_options, **options} if stored_options.get(key) != options.get(key)]
    if not different:
        return
    lines = [
        f"{key}: {stored_options.get(key)} there, {options.get(key)} here" for key in different if key != "plan_sha256"
    ]
    raise ValueError(
        f"{output_dir}: contains another data set ({'; '.join(lines or [_compare_plans(stored_shards, plans)])}). "
        "Name another folder with --output_dir, or delete this one."
    )


def _compare_plans(stored_shards: Sequence[str], plans: Sequence[ShardPlan]) -> str:
    """Returns how the shards of two plans differ."""
    there = Counter(name.rsplit("-", 3)[0] for name in stored_shards)
    here = Counter(plan.split for plan in plans)
    if there != here:
        splits = [split for split in {**there, **here} if there[split] != here[split]]
        return "; ".join(f"{split}: {there[split]} shards there, {here[split]} here" for split in splits)
    return "its shards have other patches: the source or its lists have changed, or another folder was named"


@contextlib.contextmanager
def hold_folder(output_dir: Path, task_index: int, num_tasks: int) -> Iterator[None]:
    """Locks the folder for this task.

    No other process may run the same task; a single task and several tasks exclude each other.
    """
    alone = num_tasks == 1
    with contextlib.ExitStack() as stack:
        stack.enter_context(hold_lock(output_dir / LOCK_NAME, output_dir, shared=not alone))
        if not alone:
            task = f"{task_index}-of-{num_tasks}"
            stack.enter_context(hold_lock(output_dir / f"{LOCK_NAME}-{task}", f"{output_dir}, task {task}"))
        yield
