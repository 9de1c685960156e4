"""Conversion of a source to a data set: plan the shards, write the missing ones, then the manifest.

Tasks on several nodes share a conversion without communication: each of n tasks plans all shards and writes every
n-th one. The last step, `finalize`, reads the notes of the tasks and writes the manifest.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import functools
import io
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bigearth_tf.data.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Manifest,
    manifest_from_json,
    read_manifest,
    write_manifest,
)
from bigearth_tf.runtime.files import require_utf8, write_json_atomically, write_text_atomically
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.provenance import package_versions
from bigearth_tf.runtime.system_files import list_own_files, shorten_names
from tfrecord_tools.conversion.shards import (
    WORK_DIR,
    Problem,
    ShardPlan,
    ShardSource,
    WrittenShard,
    plan_digest,
    plan_shards,
    read_written_shard,
    record_bytes,
    write_shard,
)
from tfrecord_tools.parallel import map_in_processes
from tfrecord_tools.source import Source

PROBLEMS_NAME = "problems.csv"
_PLAN_NAME = "plan.json"


@dataclasses.dataclass(frozen=True)
class ConversionOptions:
    """How a source is converted. The bytes of the shards depend on the first three only.

    `shard_mb` is the approximate size of a shard in 10^6 bytes, unless `num_shards` gives their number in each split;
    `compression` is "" or "GZIP". This process is task `task_index` of `num_tasks`, and starts `workers` processes. Up
    to `allow_problems` broken patches are left out and named in the manifest.
    """

    shard_mb: float = 128.0
    num_shards: int | None = None
    compression: str = ""
    workers: int = 1
    task_index: int = 0
    num_tasks: int = 1
    allow_problems: int = 0


def convert(source: Source, output_dir: Path, options: ConversionOptions) -> Manifest | None:
    """Writes this task's shards. A single task also writes and returns the manifest; one of several returns None.

    Raises:
        ValueError: `output_dir` contains another data set or other files, is being written by another process, or more
            patches are broken than are allowed: `problems.csv` in it names them.
        OSError: The source has disappeared, or the folder cannot be written.
    """
    if not 0 <= options.task_index < options.num_tasks:
        raise ValueError(f"--task_index={options.task_index}: expected 0 ... {options.num_tasks - 1} (--num_tasks).")
    require_utf8(output_dir)
    plans = plan_shards(source.refs, record_bytes(source.bands), options.shard_mb, options.num_shards)
    # Everything that decides the bytes of the shards. The manifest stores it as `options`.
    decisive: dict[str, object] = {
        **source.options,
        "source": source.spec.name,
        "bands": [band.name for band in source.bands],
        "compression": options.compression,
    }
    decisive["plan_sha256"] = plan_digest(plans, decisive)
    if (output_dir / MANIFEST_NAME).exists():
        manifest = read_manifest(output_dir)
        _require_same(output_dir, manifest.options, decisive)
        shutil.rmtree(output_dir / WORK_DIR, ignore_errors=True)
        return manifest
    _claim(output_dir, source, plans, decisive)
    with _lock(output_dir, options):
        shard_source = ShardSource(source.bands, source.class_names, source.read, source.roots)
        write = functools.partial(
            write_shard, output_dir=output_dir, source=shard_source, compression=options.compression
        )
        _write_all(plans[options.task_index :: options.num_tasks], write, options.workers)
    return finalize(output_dir, options.allow_problems) if options.num_tasks == 1 else None


def finalize(output_dir: Path, allow_problems: int = 0) -> Manifest:
    """Writes the manifest of a folder whose shards are all written, and returns it.

    Raises:
        FileNotFoundError: The folder contains no conversion, or a shard is not written yet.
        ValueError: More patches are broken than are allowed; `problems.csv` names them.
    """
    if (output_dir / MANIFEST_NAME).exists():
        return read_manifest(output_dir)
    plan_file = output_dir / WORK_DIR / _PLAN_NAME
    if not plan_file.exists():
        raise FileNotFoundError(f"{plan_file}: no conversion was started in this folder.")
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    found = {name: read_written_shard(output_dir, name) for name in plan["shards"]}
    missing = [name for name, written in found.items() if written is None]
    if missing:
        raise FileNotFoundError(
            f"{output_dir}: {len(missing)} of {len(found)} shards are not written yet, the first is {missing[0]}. "
            "Run the tasks that write them again, then finalize."
        )
    shards = [written for written in found.values() if written is not None]
    problems = [problem for written in shards for problem in written.problems]
    if len(problems) > allow_problems:
        write_text_atomically(output_dir / PROBLEMS_NAME, _problems_csv(problems))
        raise ValueError(
            f"{len(problems)} patches are broken, {allow_problems} are allowed. The first: {problems[0].file}: "
            f"{problems[0].problem}; expected {problems[0].expected}. {output_dir / PROBLEMS_NAME} names all of them. "
            "All others are converted: fix these and run the same command, or add "
            f"--allow_problems={len(problems)} to leave them out."
        )
    rows = {
        "shards": [dataclasses.asdict(written.shard) for written in shards],
        "problems": [problem._asdict() for problem in problems],
    }
    manifest = manifest_from_json({**plan["manifest"], **rows})
    (output_dir / PROBLEMS_NAME).unlink(missing_ok=True)
    write_manifest(manifest, output_dir)
    shutil.rmtree(output_dir / WORK_DIR)
    return manifest


def _problems_csv(problems: Sequence[Problem]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Problem._fields)
    writer.writerows(problems)
    return text.getvalue()


def _claim(output_dir: Path, source: Source, plans: Sequence[ShardPlan], decisive: dict[str, object]) -> None:
    """Reserves the folder for this conversion by writing its plan, which is the same for every task."""
    plan_file = output_dir / WORK_DIR / _PLAN_NAME
    if plan_file.exists():
        _require_same(output_dir, json.loads(plan_file.read_text(encoding="utf-8"))["manifest"]["options"], decisive)
        return
    if others := [name for name in list_own_files(output_dir) if name != WORK_DIR]:
        raise ValueError(
            f"{output_dir}: contains other files, {shorten_names(others)}. "
            "Name a new or empty folder with --output_dir."
        )
    skeleton: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "dataset": source.spec.name,
        "source": source.origin,
        "licence": source.spec.licence,
        "label_kind": source.label_kind,
        "class_names": source.class_names,
        "bands": [dataclasses.asdict(band) for band in source.bands],
        "attributes": source.attributes,
        "compression": decisive["compression"],
        "record_format": "bigearth_tf",
        "exclusions": source.exclusions,
        "options": decisive,
        "versions": package_versions(),
    }
    plan_file.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(plan_file, {"manifest": skeleton, "shards": [plan.name for plan in plans]})


def _require_same(output_dir: Path, stored: dict[str, Any], decisive: dict[str, Any]) -> None:
    different = [key for key in {**stored, **decisive} if stored.get(key) != decisive.get(key)]
    if different:
        raise ValueError(
            f"{output_dir}: contains another data set, which differs in {', '.join(different)} "
            f"({'; '.join(f'{key}: {stored.get(key)} there, {decisive.get(key)} here' for key in different)}). "
            "Name another folder with --output_dir, or delete this one."
        )


@contextlib.contextmanager
def _lock(output_dir: Path, options: ConversionOptions) -> Iterator[None]:
    """Locks the folder for this task.

    No other process may run the same task; a single task and several tasks exclude each other. The kernel releases a
    lock when its process ends for any reason.
    """
    alone = options.num_tasks == 1
    with contextlib.ExitStack() as stack:
        names = [("lock", alone)] + ([] if alone else [(f"lock-{options.task_index}-of-{options.num_tasks}", True)])
        for name, exclusive in names:
            file = stack.enter_context((output_dir / WORK_DIR / name).open("a+"))
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().strip() or "one of several tasks"
                raise ValueError(
                    f"{output_dir}: another process is converting into this folder ({holder}). "
                    "Wait for it, or end it, and run the same command."
                ) from error
            if exclusive:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
        yield


def _write_all(plans: Sequence[ShardPlan], write: Callable[[ShardPlan], WrittenShard], workers: int) -> None:
    """Writes the shards of this task; a broken patch does not stop the others, a full disk does."""
    problems = 0
    with progress_bar(sum(len(plan.refs) for plan in plans), "convert", "patch") as progress:
        for written in map_in_processes(write, plans, workers):
            problems += len(written.problems)
            progress.set_postfix(problems=problems, refresh=False)
            progress.update(written.shard.num_records + len(written.problems))
