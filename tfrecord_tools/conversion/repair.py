"""Repair of a converted data set: which shards are whole, and what is kept of one whose manifest is lost."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from bigearth_tf.data.manifest import MANIFEST_NAME, SCHEMA_VERSION, Manifest, Shard, manifest_from_json
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.runtime.progress import progress_bar
from tfrecord_tools.conversion.problems import Problem
from tfrecord_tools.conversion.shards import (
    WORK_DIR,
    Record,
    ShardPlan,
    ShardSource,
    WrittenShard,
    encode_patch,
    read_note,
    remove_note,
    write_note,
)

# Records of a shard that are compared with the source, bit by bit, before a shard without manifest and note is kept.
_COMPARED_RECORDS = 8
_THREADS = 4


def find_damaged(output_dir: Path, shards: Sequence[Shard], thorough: bool) -> list[str]:
    """Returns the names of the shards that are missing or have another size, or if `thorough` another SHA-256."""
    damaged = []
    total = sum(shard.num_bytes for shard in shards)
    with (
        progress_bar(total, "check", "B", unit_scale=True, disable=not thorough) as progress,
        concurrent.futures.ThreadPoolExecutor(_THREADS) as pool,
    ):
        for shard, is_whole in zip(shards, pool.map(lambda shard: _is_whole(output_dir, shard, thorough), shards)):
            if not is_whole:
                damaged.append(shard.name)
            progress.update(shard.num_bytes)
    return damaged


def _is_whole(output_dir: Path, shard: Shard, thorough: bool) -> bool:
    path = output_dir / shard.name
    if not path.is_file() or path.stat().st_size != shard.num_bytes:
        return False
    return not thorough or file_sha256(path) == shard.sha256


def remove_damaged_notes(output_dir: Path, plans: Sequence[ShardPlan]) -> None:
    """Removes the notes of shards whose SHA-256 differs from the note, so that these shards are written again."""
    written = [note for plan in plans if (note := read_note(output_dir, plan.name))]
    for name in find_damaged(output_dir, [note.shard for note in written], thorough=True):
        logging.info("%s: is damaged and will be written again", output_dir / name)
        _put_damaged_shard_aside(output_dir, name)


def _put_damaged_shard_aside(output_dir: Path, name: str) -> None:
    remove_note(output_dir, name)
    if (output_dir / name).exists():
        (output_dir / name).replace(output_dir / WORK_DIR / f"damaged-{name}")


def reopen(output_dir: Path, manifest: Manifest, plans: Sequence[ShardPlan], damaged: Sequence[str]) -> None:
    """Turns a data set with damaged shards into an unfinished conversion, which lacks these shards only.

    The manifest moves into `_conversion/`, and whole shards get notes again.
    """
    logging.info(
        "%s: %d of %d shards are damaged or missing and will be written again: %s",
        output_dir, len(damaged), len(manifest.shards), ", ".join(damaged[:3]) + (", ..." if len(damaged) > 3 else ""),
    )  # fmt: skip
    shard_of = {ref.patch_id: plan.name for plan in plans for ref in plan.refs}
    tolerated: dict[str, list[Problem]] = {}
    for row in manifest.problems:
        tolerated.setdefault(shard_of.get(row["patch_id"], ""), []).append(Problem(**row))
    for shard in manifest.shards:
        if shard.name in damaged:
            _put_damaged_shard_aside(output_dir, shard.name)
        else:
            write_note(output_dir, WrittenShard(shard, tuple(tolerated.get(shard.name, ())), is_final=True))
    (output_dir / MANIFEST_NAME).replace(output_dir / WORK_DIR / MANIFEST_NAME)


def former_manifest(output_dir: Path) -> Manifest | None:
    """Returns the manifest that `reopen` put aside; None if there is none that this version reads."""
    try:
        return manifest_from_json(json.loads((output_dir / WORK_DIR / MANIFEST_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def require_this_version(output_dir: Path) -> None:
    """Checks that a manifest that cannot be read is damaged, and not that of another version.

    Raises:
        ValueError: It has another schema version.
    """
    path = output_dir / MANIFEST_NAME
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["schema_version"]
    except (ValueError, TypeError, KeyError):
        return
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: has schema version {version}, this code reads {SCHEMA_VERSION}. Use the version that wrote it."
        )


def put_damaged_manifest_aside(output_dir: Path) -> None:
    """Moves a manifest that cannot be read into `_conversion/`."""
    path = output_dir / MANIFEST_NAME
    logging.warning("%s: is damaged; it will be written again", path)
    path.replace(output_dir / WORK_DIR / f"damaged-{MANIFEST_NAME}")


def recover_shard(plan: ShardPlan, output_dir: Path, source: ShardSource, compression: str) -> WrittenShard | None:
    """Returns the row of a shard without manifest and note, and notes it; None if it is not as planned.

    It is as planned if each record passes all checks, the patches are those of the plan in their order, and some
    records, evenly spread, equal what the source gives bit by bit.
    """
    import tensorflow as tf

    from bigearth_tf.data.record_schema import check_record

    path = output_dir / plan.name
    if not path.is_file():
        return None
    class_counts, count = [0] * len(source.class_names), len(plan.refs)
    compared = {index * max(1, count - 1) // _COMPARED_RECORDS for index in range(_COMPARED_RECORDS)} | {count - 1}
    seen = 0
    try:
        for record in tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator():
            patch_id, labels = check_record(record, source.bands, len(source.class_names), source.attributes)
            if seen == count or patch_id != plan.refs[seen].patch_id:
                return None
            if seen in compared:
                expected = encode_patch(plan.refs[seen], source)
                if not isinstance(expected, Record) or expected.data != record:
                    return None
            for label in labels:
                class_counts[label] += 1
            seen += 1
    except (tf.errors.OpError, ValueError):
        return None
    if seen != count:
        return None
    shard = Shard(plan.name, plan.split, count, path.stat().st_size, file_sha256(path), tuple(class_counts))
    written = WrittenShard(shard, ())
    write_note(output_dir, written)
    return written
