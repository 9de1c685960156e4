"""The last step of a conversion: the manifest, written from the notes of all shards."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from bigearth_tf.data.manifest import MANIFEST_NAME, Manifest, manifest_from_json, read_manifest, write_manifest
from bigearth_tf.runtime.files import write_text_atomically
from bigearth_tf.runtime.locks import hold_lock
from tfrecord_tools.conversion import repair
from tfrecord_tools.conversion.output_folder import LOCK_NAME, PLAN_NAME, PROBLEMS_NAME, is_problems_table
from tfrecord_tools.conversion.problems import Problem, describe_problems, problems_table
from tfrecord_tools.conversion.shards import WORK_DIR, WrittenShard, read_note


def finalize(output_dir: Path, allow_problems: int = 0) -> Manifest:
    """Writes the manifest of a folder whose shards are all written, and returns it.

    Raises:
        FileNotFoundError: The folder contains no conversion, or a shard is not written yet.
        ValueError: More patches are broken than are allowed (`problems.csv` names them), a split is empty, or a task is
            still running.
    """
    if (output_dir / MANIFEST_NAME).exists():
        return read_manifest(output_dir)
    if not (output_dir / WORK_DIR / PLAN_NAME).exists():
        raise FileNotFoundError(
            f"{output_dir}: no conversion was started in this folder. Run `python -m tfrecord_tools.convert` first."
        )
    with hold_lock(output_dir / LOCK_NAME, output_dir):
        return finish(output_dir, allow_problems)


def finish(output_dir: Path, allow_problems: int) -> Manifest:
    """Does the work of `finalize`; the caller holds the lock of the folder."""
    plan = json.loads((output_dir / WORK_DIR / PLAN_NAME).read_text(encoding="utf-8"))
    found = {name: read_note(output_dir, name) for name in plan["shards"]}
    missing = [index for index, written in enumerate(found.values()) if written is None]
    if missing:
        raise FileNotFoundError(
            f"{output_dir}: {len(missing)} of {len(found)} shards are not written yet. "
            f"{_advise_tasks(missing, plan.get('num_tasks', 1))}"
        )
    shards = [written for written in found.values() if written is not None]
    problems = [problem for written in shards for problem in written.problems]
    if len(problems) > allow_problems:
        write_text_atomically(output_dir / PROBLEMS_NAME, problems_table(problems))
        total = len(problems) + sum(written.shard.num_records for written in shards)
        rest = "All others are converted" if len(problems) < total else "None is converted"
        raise ValueError(
            f"{describe_problems(problems, total, allow_problems)} {output_dir / PROBLEMS_NAME} names all of them. "
            f"{rest}: fix these and run the same command"
            + (f", or add --allow_problems={len(problems)} to leave them out." if len(problems) < total else ".")
        )
    _require_records(output_dir, shards)
    manifest = _make_manifest(output_dir, plan["manifest"], shards, problems)
    for path in output_dir.iterdir():
        if is_problems_table(path.name):
            path.unlink()
    write_manifest(manifest, output_dir)
    shutil.rmtree(output_dir / WORK_DIR)
    return manifest


def _advise_tasks(missing: Sequence[int], num_tasks: int) -> str:
    """Returns how to write the shards at these places of the plan."""
    if num_tasks == 1:
        return "Run the command that started the conversion again: it writes them, and the manifest."
    tasks = sorted({index % num_tasks for index in missing})
    first = f"--task_index={tasks[0]} --num_tasks={num_tasks}"
    return (
        f"They are those of {'task' if len(tasks) == 1 else 'tasks'} {', '.join(map(str, tasks))} of {num_tasks}. Run "
        f"each again ({first}), then finalize; or run the conversion once without both flags: it writes what is "
        "missing, and the manifest."
    )


def _require_records(output_dir: Path, shards: Sequence[WrittenShard]) -> None:
    counts: dict[str, int] = {}
    for written in shards:
        counts[written.shard.split] = counts.get(written.shard.split, 0) + written.shard.num_records
    empty = [split for split, count in counts.items() if not count]
    if empty:
        raise ValueError(
            f"{output_dir}: all patches of the split {', '.join(empty)} are broken, and a split without records is of "
            "no use. Fix at least one of them and run the same command."
        )


def _make_manifest(
    output_dir: Path, skeleton: dict[str, Any], shards: Sequence[WrittenShard], problems: Sequence[Problem]
) -> Manifest:
    rows = {
        "shards": [dataclasses.asdict(written.shard) for written in shards],
        "problems": [problem._asdict() for problem in problems],
    }
    manifest = manifest_from_json({**skeleton, **rows})
    former = repair.former_manifest(output_dir)
    if former is None:
        return manifest
    if (former.shards, former.problems) == (manifest.shards, manifest.problems):
        return former
    if former.statistics:
        logging.warning(
            "%s: some shards have other records than before; compute the statistics of the bands again with "
            "`python -m tfrecord_tools.band_stats --write`", output_dir,
        )  # fmt: skip
    return manifest
