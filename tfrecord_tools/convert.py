"""Converts patches to sharded TFRecords with a manifest.

    python -m tfrecord_tools.convert --s2=BigEarthNet-v1.0 --s1=BigEarthNet-S1-v1.0 --output_dir=records

Each input is a folder or an uncompressed tar. After an interruption, or if shards of a finished data set were lost, the
same command writes the shards that are missing; with --repair, also those that are damaged. Several tasks share the
work with --task_index and --num_tasks, whose defaults are SLURM's array variables; `python -m tfrecord_tools.finalize`
then writes the manifest.
"""

from __future__ import annotations

import os
from pathlib import Path

from absl import flags, logging

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.array_task import find_task
from bigearth_tf.runtime.command import run_command
from tfrecord_tools.source_flags import define_source_flags, read_source_inputs
from tfrecord_tools.sources import open_source

define_source_flags("bigearthnet_v1", "Source of the patches.")

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write; created if missing.", required=True)
_SHARD_MB = flags.DEFINE_float("shard_mb", 128.0, "Approximate size of a shard in 10^6 bytes.", lower_bound=0.1)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", None, "Number of shards of each split, instead of their size.", lower_bound=1
)
_GZIP = flags.DEFINE_bool("gzip", False, "Compress: a fifth smaller, several times slower to read.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that write shards.", lower_bound=1)
_TASK_INDEX = flags.DEFINE_integer(
    "task_index", None, "Index of this task, from 0; default: SLURM's array task.", lower_bound=0
)
_NUM_TASKS = flags.DEFINE_integer(
    "num_tasks", None, "Number of tasks that share the work; default: SLURM's array tasks, or 1.", lower_bound=1
)
_ALLOW_PROBLEMS = flags.DEFINE_integer("allow_problems", 0, "Leave out up to this many broken patches.", lower_bound=0)
_REPAIR = flags.DEFINE_bool(
    "repair", False, "Check every shard by its SHA-256, and write again what is damaged, also the manifest."
)


def main() -> None:
    """Converts the source, or one task's part of it."""
    from tfrecord_tools.conversion.convert_source import ConversionOptions, convert

    task_index, num_tasks = find_task(_TASK_INDEX.value, _NUM_TASKS.value)
    output_dir = Path(_OUTPUT_DIR.value)
    options = ConversionOptions(
        shard_mb=_SHARD_MB.value,
        num_shards=_NUM_SHARDS.value,
        compression="GZIP" if _GZIP.value else "",
        workers=_WORKERS.value,
        task_index=task_index,
        num_tasks=num_tasks,
        allow_problems=_ALLOW_PROBLEMS.value,
        repair=_REPAIR.value,
    )
    before = _time_of(output_dir / MANIFEST_NAME)
    logging.info("listing the patches of %s", flags.FLAGS.source)
    source = open_source(flags.FLAGS.source, read_source_inputs())
    logging.info("found %d patches", len(source.refs))
    manifest = convert(source, output_dir, options)
    if manifest is None:
        print(
            f"task {task_index} of {num_tasks} is done; when all tasks are done, run: "
            f"python -m tfrecord_tools.finalize --output_dir={output_dir}"
        )
        return
    print(manifest.summary())
    was_complete = before is not None and before == _time_of(output_dir / MANIFEST_NAME)
    print(f"{'complete already: ' if was_complete else 'wrote '}{output_dir / MANIFEST_NAME}")


def _time_of(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


if __name__ == "__main__":
    run_command(main)
