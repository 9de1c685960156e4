"""Conversion of a source to a data set: plan the shards, write the missing ones, then the manifest.

Tasks on several nodes share a conversion without communication: each of n tasks plans all shards and writes every
n-th one. The last step, `finalize`, reads the notes of the tasks and writes the manifest.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from bigearth_tf.data.manifest import MANIFEST_NAME, SCHEMA_VERSION, Manifest, read_manifest
from bigearth_tf.runtime.files import require_utf8, write_json_atomically, write_text_atomically
from bigearth_tf.runtime.locks import hold_lock
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.provenance import package_versions
from tfrecord_tools.conversion import repair
from tfrecord_tools.conversion.finalization import finish
from tfrecord_tools.conversion.output_folder import (
    LOCK_NAME,
    PLAN_NAME,
    hold_folder,
    require_own_files,
    require_same,
)
from tfrecord_tools.conversion.problems import Problem, describe_problems, problems_table
from tfrecord_tools.conversion.shards import (
    WORK_DIR,
    ShardPlan,
    ShardSource,
    WrittenShard,
    plan_digest,
    plan_shards,
    read_note,
    record_bytes,
    write_shard,
)
from tfrecord_tools.listing.patch_lists import SPLITS
from tfrecord_tools.parallel import map_in_processes, report_progress
from tfrecord_tools.source import Source


@dataclasses.dataclass(frozen=True)
class ConversionOptions:
    """How a source is converted. The bytes of the shards depend on the first three only.

    `shard_mb` is the approximate size of a shard in 10^6 bytes, unless `num_shards` gives their number in each split;
    `compression` is "" or "GZIP". This process is task `task_index` of `num_tasks`, and starts `workers` processes. Up
    to `allow_problems` broken patches are left out and named in the manifest. With `repair`, every shard that exists is
    checked by its SHA-256, and a manifest that is lost or damaged is written again.

    Raises:
        ValueError: A number is out of range.
    """

    shard_mb: float = 128.0
    num_shards: int | None = None
    compression: str = ""
    workers: int = 1
    task_index: int = 0
    num_tasks: int = 1
    allow_problems: int = 0
    repair: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.shard_mb) and self.shard_mb > 0):
            raise ValueError(f"--shard_mb={self.shard_mb}: expected a number above 0, such as 128.")
        if self.num_shards is not None and self.num_shards < 1:
            raise ValueError(f"--num_shards={self.num_shards}: expected 1 or more.")
        if self.num_tasks < 1:
            raise ValueError(f"--num_tasks={self.num_tasks}: expected 1 or more.")
        if not 0 <= self.task_index < self.num_tasks:
            raise ValueError(f"--task_index={self.task_index}: expected 0 ... {self.num_tasks - 1} (--num_tasks).")


def convert(source: Source, output_dir: Path, options: ConversionOptions) -> Manifest | None:
    """Writes this task's shards. A single task also writes and returns the manifest; one of several returns None.

    Of a finished data set, only shards that are damaged or lost are written again.

    Raises:
        ValueError: The source has no patch, `output_dir` contains another data set or other files, is being written by
            another process, or more patches are broken than are allowed: `problems.csv` in it names them.
        OSError: The source has disappeared, or the folder cannot be written.
    """
    require_utf8(output_dir)
    if not source.refs:
        left_out = ", ".join(f"{reason}: {count}" for reason, count in source.exclusions.items())
        raise ValueError(f"{', '.join(source.roots)}: no patch is left to convert (left out: {left_out or 'none'}).")
    absent = [split for split in SPLITS if all(ref.split != split for ref in source.refs)]
    if absent:
        logging.warning("%s: no patch of the split %s", output_dir, ", ".join(absent))
    plans = plan_shards(source.refs, record_bytes(source.bands), options.shard_mb, options.num_shards)
    # Everything that decides the bytes of the shards. The manifest stores it as `options`.
    decisive: dict[str, object] = {
        **source.options,
        "source": source.spec.name,
        "bands": [band.name for band in source.bands],
        "compression": options.compression,
    }
    decisive["plan_sha256"] = plan_digest(plans, decisive)
    if not options.repair and not (output_dir / WORK_DIR).exists():
        # A finished data set may be in a folder that cannot be written.
        manifest = _examine(output_dir, plans, decisive, thorough=False).whole_manifest
        if manifest:
            return manifest
    output_dir.mkdir(parents=True, exist_ok=True)
    with hold_folder(output_dir, options.task_index, options.num_tasks):
        # Tasks that start at the same time do this one after another.
        with hold_lock(output_dir / f"{LOCK_NAME}-plan", output_dir, while_waiting=lambda: None):
            found = _examine(output_dir, plans, decisive, thorough=options.repair)
            if found.whole_manifest:
                shutil.rmtree(output_dir / WORK_DIR, ignore_errors=True)
                return found.manifest
            _claim(output_dir, source, plans, decisive, options, found)
        mine = plans[options.task_index :: options.num_tasks]
        if options.repair:
            repair.remove_damaged_notes(output_dir, mine)
        problems = _write_missing(output_dir, source, mine, options)
        if options.num_tasks == 1:
            return finish(output_dir, options.allow_problems)
    broken = problems and describe_problems(problems, sum(len(plan.refs) for plan in mine), options.allow_problems)
    table = output_dir / f"problems-{options.task_index}-of-{options.num_tasks}.csv"
    table.unlink(missing_ok=True)
    if len(problems) > options.allow_problems:
        write_text_atomically(table, problems_table(problems))
        raise ValueError(
            f"task {options.task_index} of {options.num_tasks}: {broken} {table} names all of them. Fix them and run "
            "this task again. Or leave them out: run finalize with --allow_problems=N, where N is their number in all "
            "tasks."
        )
    if broken:
        logging.warning("task %d of %d: %s", options.task_index, options.num_tasks, broken)
    return None


class _Found(NamedTuple):
    """What the output folder contains: a manifest that can be read, and the shards that are not as it says."""

    manifest: Manifest | None = None
    damaged: Sequence[str] = ()

    @property
    def whole_manifest(self) -> Manifest | None:
        """The manifest, if the data set is finished and whole."""
        return None if self.damaged else self.manifest


def _examine(output_dir: Path, plans: Sequence[ShardPlan], decisive: dict[str, object], *, thorough: bool) -> _Found:
    """Returns what the folder contains; only if `thorough`, a manifest may be damaged and shards are read.

    Raises:
        ValueError: It contains another data set, or a manifest that is damaged or of another version.
    """
    try:
        manifest = read_manifest(output_dir, check_shards=False)
    except FileNotFoundError:
        return _Found()
    except ValueError:
        if thorough:
            repair.require_this_version(output_dir)
            return _Found()
        raise
    require_same(output_dir, [shard.name for shard in manifest.shards], manifest.options, plans, decisive)
    return _Found(manifest, repair.find_damaged(output_dir, manifest.shards, thorough))


def _claim(
    output_dir: Path,
    source: Source,
    plans: Sequence[ShardPlan],
    decisive: dict[str, object],
    options: ConversionOptions,
    found: _Found,
) -> None:
    """Reserves the folder for this conversion by writing its plan, which is the same for every task.

    A data set with damaged shards becomes an unfinished conversion.
    """
    plan_file = output_dir / WORK_DIR / PLAN_NAME
    names = [plan.name for plan in plans]
    if plan_file.exists():
        plan = json.loads(plan_file.read_text(encoding="utf-8"))
        require_same(output_dir, plan["shards"], plan["manifest"]["options"], plans, decisive)
    else:
        if not found.manifest:
            require_own_files(output_dir, {*names, MANIFEST_NAME}, options.repair)
        plan_file.parent.mkdir(parents=True, exist_ok=True)
        skeleton = _manifest_without_shards(source, decisive)
        write_json_atomically(plan_file, {"manifest": skeleton, "shards": names, "num_tasks": options.num_tasks})
    if found.manifest:
        repair.reopen(output_dir, found.manifest, plans, found.damaged)
    elif (output_dir / MANIFEST_NAME).exists():
        repair.put_damaged_manifest_aside(output_dir)


def _manifest_without_shards(source: Source, decisive: dict[str, object]) -> dict[str, Any]:
    return {
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


def _write_missing(
    output_dir: Path, source: Source, plans: Sequence[ShardPlan], options: ConversionOptions
) -> list[Problem]:
    """Writes the shards of this task that are not whole; returns the broken patches of all of its shards.

    A broken patch does not stop the others, a full disk does.
    """
    kept = [note for plan in plans if (note := read_note(output_dir, plan.name)) and note.is_whole]
    names = {note.shard.name for note in kept}
    missing = [plan for plan in plans if plan.name not in names]
    problems = [problem for note in kept for problem in note.problems]
    shard_source = ShardSource(source.bands, source.class_names, source.attributes, source.read, source.roots)
    write = functools.partial(
        _write_one,
        output_dir=output_dir,
        source=shard_source,
        compression=options.compression,
        recover=options.repair,
    )
    total = sum(len(plan.refs) for plan in plans)
    done = total - sum(len(plan.refs) for plan in missing)
    with progress_bar(total, "convert", "patch", initial=done) as progress:
        for written in map_in_processes(write, missing, options.workers, on_progress=progress.update):
            problems += written.problems
            progress.set_postfix(problems=len(problems), refresh=False)
    return problems


def _write_one(plan: ShardPlan, output_dir: Path, source: ShardSource, compression: str, recover: bool) -> WrittenShard:
    """Writes a shard; if `recover`, only unless the file that is there turns out to be as planned."""
    if recover and (found := repair.recover_shard(plan, output_dir, source, compression)):
        report_progress(len(plan.refs))
        return found
    return write_shard(plan, output_dir, source, compression)
