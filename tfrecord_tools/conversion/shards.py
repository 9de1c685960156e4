"""How do patches become shards? Which record goes where, and how one shard is written, whole or not at all.

The place of a patch follows from a hash of its id: bytes do not depend on the number of workers, the order of the
source, or interruptions, and each shard is a random sample of its split.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
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
_OVERHEAD_BYTES = 500  # Of names, keys and framing in a record.


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write: its name, its split, and its patches in order."""

    name: str
    split: str
    refs: tuple[PatchRef, ...]


def plan_shards(
    refs: Iterable[PatchRef], record_bytes: int, shard_mb: float, num_shards: int | None = None
) -> list[ShardPlan]:
    """Returns the shards of all splits, of near equal size.

    Args:
        refs: Patches of all splits, in any order.
        record_bytes: Size of a record, to reach `shard_mb`.
        shard_mb: Wanted size of a shard in 10^6 bytes, if `num_shards` is None.
        num_shards: Number of shards of each split; a split of fewer records gets one a record.
    """
    by_split: dict[str, list[PatchRef]] = {}
    for ref in refs:
        by_split.setdefault(ref.split, []).append(ref)
    plans = []
    for split, members in sorted(by_split.items()):
        members.sort(key=lambda ref: (_stable_hash(ref.patch_id), ref.patch_id))
        wanted = num_shards or math.ceil(len(members) * record_bytes / (shard_mb * 1e6))
        count = min(wanted, len(members))
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
    """Returns a SHA-256 of everything that decides the shards' bytes, but the pixels themselves."""
    content = [options, [[plan.name, [ref.patch_id for ref in plan.refs]] for plan in plans]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Written:
    """What became of a planned shard: its row of the manifest, and the broken patches that are not in it."""

    shard: Shard
    problems: tuple[Problem, ...]


class Problem(NamedTuple):
    """A broken patch: its id, the file, what is wrong with it, what was expected, and the mend."""

    patch_id: str
    file: str
    problem: str
    expected: str
    mend: str


def read_written(output_dir: Path, name: str) -> Written | None:
    """Returns what an earlier process wrote of a shard; None where it did not finish."""
    note, path = _note(output_dir, name), output_dir / name
    if not note.exists() or not path.exists():
        return None
    content = json.loads(note.read_text(encoding="utf-8"))
    shard = shard_from_json(content["shard"])
    if path.stat().st_size != shard.num_bytes:
        return None
    return Written(shard, tuple(Problem(*problem) for problem in content["problems"]))


def _note(output_dir: Path, name: str) -> Path:
    return output_dir / WORK_DIR / f"{name}.json"


def write_shard(plan: ShardPlan, output_dir: Path, source: ShardSource, compression: str = "") -> Written:
    """Writes a shard, unless it is whole already, and returns what became of it.

    A broken patch is passed over and told. Written beside and renamed; the note of it is written last, and is kept in
    `_conversion/` until the manifest takes it up. A shard that lacks broken patches is tried again each time.

    Raises:
        FileNotFoundError: The source as a whole is gone.
        OSError: The folder cannot be written, for example because the disk is full.
    """
    earlier = read_written(output_dir, plan.name)
    if earlier and not earlier.problems:
        return earlier
    # TensorFlow takes seconds to load: only a process that writes pays for it.
    import tensorflow as tf

    temporary = output_dir / WORK_DIR / f"{plan.name}.{os.getpid()}.tmp"
    problems: list[Problem] = []
    class_counts = [0] * len(source.class_names)
    try:
        with tf.io.TFRecordWriter(os.fspath(temporary), compression) as writer:
            for record, indices in _records(plan, source, problems):
                writer.write(record)
                for index in indices:
                    class_counts[index] += 1
    except tf.errors.OpError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            f"{temporary}: cannot be written ({error.message}). Make room, and run the same command."
        ) from error
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # The disk has work to do, and so has the core.
        flushed = pool.submit(_flush, temporary)
        digest, num_bytes = file_sha256(temporary), temporary.stat().st_size
        flushed.result()
    count = len(plan.refs) - len(problems)
    shard = Shard(plan.name, plan.split, count, num_bytes, digest, tuple(class_counts))
    _note(output_dir, plan.name).unlink(missing_ok=True)
    temporary.replace(output_dir / plan.name)
    content = {"shard": dataclasses.asdict(shard), "problems": problems}
    write_json_atomically(_note(output_dir, plan.name), content)
    return Written(shard, tuple(problems))


def _records(plan: ShardPlan, source: ShardSource, problems: list[Problem]) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """Yields each patch's record with its label indices, in order, and adds the broken ones to `problems`."""
    from bigearth_tf.data.record_schema import encode_example

    for ref in plan.refs:
        try:
            patch = source.read(ref)
            indices = label_indices(patch.labels, source.class_names)
        except PatchError as error:
            for root in source.roots:
                if not os.path.exists(root):
                    raise FileNotFoundError(
                        f"{root}: the source is gone. Make it available again, and run the same command: "
                        "it goes on with what is missing."
                    ) from error
            problems.append(Problem(ref.patch_id, error.file, error.problem, error.expected, error.fix))
            continue
        yield encode_example(ref.patch_id, indices, patch.bands, source.bands, patch.attributes), indices


class ShardSource(NamedTuple):
    """The part of a source that a process needs to write shards."""

    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    read: ReadPatch
    roots: tuple[str, ...]


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
