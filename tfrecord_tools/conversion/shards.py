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
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.source import PatchError, ReadPatch

WORK_DIR = "_conversion"
_OVERHEAD_BYTES = 500  # Names, keys and framing of a record.


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """A shard to write: its name, its split, and its patches in order."""

    name: str
    split: str
    refs: tuple[PatchRef, ...]


class Problem(NamedTuple):
    """A broken patch: its id, the file, what is wrong, what was expected, and how to fix it.

    The names are the columns of `problems.csv` and keys in manifests on users' disks.
    """

    patch_id: str
    file: str
    problem: str
    expected: str
    mend: str


@dataclasses.dataclass(frozen=True)
class WrittenShard:
    """A shard that was written: its row of the manifest, and the broken patches that it does not contain."""

    shard: Shard
    problems: tuple[Problem, ...]


class ShardSource(NamedTuple):
    """The part of a source that a process needs to write shards."""

    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    read: ReadPatch
    roots: tuple[str, ...]


class _Record(NamedTuple):
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
        count = min(requested, len(members))
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


def read_written_shard(output_dir: Path, name: str) -> WrittenShard | None:
    """Returns the shard that an earlier process wrote, None if there is none or it was not finished."""
    note, path = _note(output_dir, name), output_dir / name
    if not note.exists() or not path.exists():
        return None
    content = json.loads(note.read_text(encoding="utf-8"))
    shard = shard_from_json(content["shard"])
    if path.stat().st_size != shard.num_bytes:
        return None
    return WrittenShard(shard, tuple(Problem(*problem) for problem in content["problems"]))


def _note(output_dir: Path, name: str) -> Path:
    return output_dir / WORK_DIR / f"{name}.json"


def write_shard(plan: ShardPlan, output_dir: Path, source: ShardSource, compression: str = "") -> WrittenShard:
    """Writes a shard, unless it is finished, and returns it.

    Broken patches are skipped and reported. The shard is written in `_conversion/` and renamed; a note of it is written
    last and stays in `_conversion/` until the manifest is written. A shard without its broken patches is written again
    in each conversion of the folder.

    Raises:
        FileNotFoundError: The source as a whole has disappeared.
        OSError: The folder cannot be written, for example because the disk is full.
    """
    earlier = read_written_shard(output_dir, plan.name)
    if earlier and not earlier.problems:
        return earlier
    temporary = output_dir / WORK_DIR / f"{plan.name}.{os.getpid()}.tmp"
    class_counts, problems = _write_records(temporary, plan, source, compression)
    # The disk writes while the core computes the checksum, which `atomic_file` would not allow.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(_flush, temporary)
        digest, num_bytes = file_sha256(temporary), temporary.stat().st_size
        flushed.result()
    count = len(plan.refs) - len(problems)
    shard = Shard(plan.name, plan.split, count, num_bytes, digest, class_counts)
    _note(output_dir, plan.name).unlink(missing_ok=True)
    temporary.replace(output_dir / plan.name)
    content = {"shard": dataclasses.asdict(shard), "problems": problems}
    write_json_atomically(_note(output_dir, plan.name), content)
    return WrittenShard(shard, problems)


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
            for ref in plan.refs:
                record = _encode_patch(ref, source)
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


def _encode_patch(ref: PatchRef, source: ShardSource) -> _Record | Problem:
    """Returns the record of a patch, or what is wrong with the patch."""
    from bigearth_tf.data.record_schema import encode_example

    try:
        patch = source.read(ref)
        indices = label_indices(patch.labels, source.class_names)
    except PatchError as error:
        for root in source.roots:
            if not os.path.exists(root):
                raise FileNotFoundError(
                    f"{root}: the source has disappeared. Make it available again, and run the same command: "
                    "it writes what is missing."
                ) from error
        return Problem(ref.patch_id, error.file, error.problem, error.expected, error.fix)
    data = encode_example(ref.patch_id, indices, patch.bands, source.bands, patch.attributes)
    return _Record(data, indices)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
