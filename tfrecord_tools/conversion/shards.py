"""The assignment of records to shards, and the writing of one shard, whole or not at all.

A hash of its id decides the place of a patch. The bytes of a shard do not depend on the number of workers, on the order
of the source, or on interruptions, and each shard is a random sample of its split.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.labels import label_indices
from bigearth_tf.data.manifest import Shard, shard_from_json
from bigearth_tf.runtime.files import file_sha256, write_json_atomically
from tfrecord_tools.conversion.problems import Problem, find_problem
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.parallel import report_progress
from tfrecord_tools.source import PatchError, ReadPatch

WORK_DIR = "_conversion"
_OVERHEAD_BYTES = 500  # Names, keys and framing of a record.


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """A shard to write: its name, its split, and its patches in order."""

    name: str
    split: str
    refs: tuple[PatchRef, ...]


@dataclasses.dataclass(frozen=True)
class WrittenShard:
    """A shard that was written: its row of the manifest, and the broken patches that it does not contain.

    If `is_final`, these patches were tolerated in an earlier manifest, and are not tried again.
    """

    shard: Shard
    problems: tuple[Problem, ...]
    is_final: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the shard need not be written again."""
        return self.is_final or not self.problems


class ShardSource(NamedTuple):
    """The part of a source that a process needs to write shards."""

    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    attributes: tuple[str, ...]
    read: ReadPatch
    roots: tuple[str, ...]


class Record(NamedTuple):
    """A serialized record and its label indices."""

    data: bytes
    label_indices: tuple[int, ...]


def plan_shards(
    refs: Iterable[PatchRef], record_bytes: int, shard_mb: float, num_shards: int | None = None
) -> list[ShardPlan]:
    """Returns the shards of all splits, of nearly equal size.

    Args:
        refs: Patches of all splits, in any order.
        record_bytes: Approximate size of a record.
        shard_mb: Approximate size of a shard in 10^6 bytes, if `num_shards` is None.
        num_shards: Number of shards of each split; a split with fewer records gets one shard per record.
    """
    by_split: dict[str, list[PatchRef]] = {}
    for ref in refs:
        by_split.setdefault(ref.split, []).append(ref)
    plans = []
    for split, members in sorted(by_split.items()):
        members.sort(key=lambda ref: (_stable_hash(ref.patch_id), ref.patch_id))
        requested = num_shards or math.ceil(len(members) * record_bytes / (shard_mb * 1e6))
        count = max(1, min(requested, len(members)))
        for index in range(count):
            part = members[index * len(members) // count : (index + 1) * len(members) // count]
            plans.append(ShardPlan(f"{split}-{index:05d}-of-{count:05d}.tfrecord", split, tuple(part)))
    return plans


def _stable_hash(patch_id: str) -> bytes:
    return hashlib.blake2b(patch_id.encode(), digest_size=8).digest()


def record_bytes(bands: Sequence[Band]) -> int:
    """Returns the approximate size of a record with these bands."""
    return sum(band.size_px**2 * np.dtype(band.dtype).itemsize for band in bands) + _OVERHEAD_BYTES


def plan_digest(plans: Iterable[ShardPlan], options: dict[str, object]) -> str:
    """Returns a SHA-256 of everything that decides the bytes of the shards, except the content of the patches."""
    content = [options, [[plan.name, [ref.patch_id for ref in plan.refs]] for plan in plans]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_note(output_dir: Path, name: str) -> WrittenShard | None:
    """Returns the shard that an earlier process wrote; None if there is none, or it is not finished or was damaged."""
    note, path = _note_path(output_dir, name), output_dir / name
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        shard = shard_from_json(content["shard"])
        problems = tuple(Problem(*problem) for problem in content["problems"])
        if path.stat().st_size != shard.num_bytes:
            return None
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return WrittenShard(shard, problems, bool(content.get("is_final")))


def write_note(output_dir: Path, written: WrittenShard) -> None:
    """Notes that a shard is written."""
    content = {"shard": dataclasses.asdict(written.shard), "problems": written.problems, "is_final": written.is_final}
    write_json_atomically(_note_path(output_dir, written.shard.name), content)


def remove_note(output_dir: Path, name: str) -> None:
    """Removes the note of a shard, so that it is written again."""
    _note_path(output_dir, name).unlink(missing_ok=True)


def _note_path(output_dir: Path, name: str) -> Path:
    return output_dir / WORK_DIR / f"{name}.json"


def write_shard(plan: ShardPlan, output_dir: Path, source: ShardSource, compression: str = "") -> WrittenShard:
    """Writes a shard and returns it; reports each of its patches as progress, the last one when the shard is finished.

    Broken patches are skipped. The shard is written in `_conversion/` and renamed; a note of it is written last and
    stays in `_conversion/` until the manifest is written.

    Raises:
        FileNotFoundError: The source as a whole has disappeared.
        OSError: The folder cannot be written, for example because the disk is full.
    """
    temporary = output_dir / WORK_DIR / f"{plan.name}.{os.getpid()}.tmp"
    class_counts, problems = _write_records(temporary, plan, source, compression)
    # The disk writes while the core computes the checksum, which `atomic_file` would not allow.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(_flush, temporary)
        digest, num_bytes = file_sha256(temporary), temporary.stat().st_size
        flushed.result()
    count = len(plan.refs) - len(problems)
    written = WrittenShard(Shard(plan.name, plan.split, count, num_bytes, digest, class_counts), problems)
    remove_note(output_dir, plan.name)
    temporary.replace(output_dir / plan.name)
    write_note(output_dir, written)
    report_progress()
    return written


def _write_records(
    path: Path, plan: ShardPlan, source: ShardSource, compression: str
) -> tuple[tuple[int, ...], tuple[Problem, ...]]:
    """Writes the records of a shard; returns the number of records of each class, and the broken patches."""
    # TensorFlow takes seconds to load: only a process that writes records loads it.
    import tensorflow as tf

    class_counts = [0] * len(source.class_names)
    problems = []
    try:
        with tf.io.TFRecordWriter(os.fspath(path), compression) as writer:
            for number, ref in enumerate(plan.refs):
                if number:
                    report_progress()  # Of the patch before this one.
                record = encode_patch(ref, source)
                if isinstance(record, Problem):
                    problems.append(record)
                    continue
                writer.write(record.data)
                for index in record.label_indices:
                    class_counts[index] += 1
    except tf.errors.OpError as error:
        path.unlink(missing_ok=True)
        raise OSError(
            f"{path}: cannot be written ({error.message}). Free some space, and run the same command."
        ) from error
    return tuple(class_counts), tuple(problems)


def encode_patch(ref: PatchRef, source: ShardSource) -> Record | Problem:
    """Returns the record of a patch, or what is wrong with the patch.

    Raises:
        FileNotFoundError: The source as a whole has disappeared.
        OSError: This process has no more memory or files.
    """
    from bigearth_tf.data.record_schema import encode_example

    try:
        patch = source.read(ref)
        indices = label_indices(patch.labels, source.class_names)
    except (PatchError, OSError) as error:
        return find_problem(ref, error, source.roots)
    data = encode_example(ref.patch_id, indices, patch.bands, source.bands, patch.attributes)
    return Record(data, indices)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
