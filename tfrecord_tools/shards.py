"""How do patches become shards? Which record goes where, and how one shard is written, whole or not at all.

The place of a patch follows from a hash of its id: bytes do not depend on the number of workers, the order of the
source, or interruptions, and each shard is a random sample of its split.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bigearth_tf.bands import Band
from bigearth_tf.labels import NOMENCLATURES, label_indices, translate
from bigearth_tf.manifest import Shard, write_text_atomically
from tfrecord_tools.patch import Patch
from tfrecord_tools.sources import PatchRef

WORK_DIR = "_conversion"
_OVERHEAD_BYTES = 500  # Of names, keys and framing in a record.


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write: its name, its split, and its patches in order."""

    name: str
    split: str
    refs: tuple[PatchRef, ...]


def plan_shards(
    refs: Iterable[PatchRef], record_bytes: int, shard_mb: float, num_shards: int | None
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
    return sum(band.size_px**2 * (2 if band.dtype == "uint16" else 4) for band in bands) + _OVERHEAD_BYTES


def plan_digest(plans: Iterable[ShardPlan], options: dict[str, object]) -> str:
    """Returns a SHA-256 of everything that decides the shards' bytes, but the pixels themselves."""
    content = [options, [[plan.name, [ref.patch_id for ref in plan.refs]] for plan in plans]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_shard(
    plan: ShardPlan, output_dir: Path, bands: Sequence[Band], nomenclature: str, read_patch: Callable[..., Patch]
) -> Shard:
    """Writes a shard and returns its row of the manifest; a shard that is already whole is not written again.

    Beside the final name first, then renamed; its row is kept in `_conversion/` until the manifest takes it up.

    Raises:
        PatchError: A patch is broken.
    """
    row_file = output_dir / WORK_DIR / f"{plan.name}.json"
    path = output_dir / plan.name
    if row_file.exists() and path.exists():
        row = json.loads(row_file.read_text(encoding="utf-8"))
        return Shard(**{**row, "class_counts": tuple(row["class_counts"])})
    # TensorFlow takes seconds to load: only a process that writes pays for it.
    import tensorflow as tf

    from bigearth_tf.example_schema import encode_example

    class_names = NOMENCLATURES[nomenclature]
    class_counts = [0] * len(class_names)
    temporary = output_dir / WORK_DIR / f"{plan.name}.{os.getpid()}.tmp"
    with tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
        for ref in plan.refs:
            patch = read_patch(*ref.folders)
            indices = label_indices(translate(patch.labels, nomenclature), class_names)
            for index in indices:
                class_counts[index] += 1
            writer.write(encode_example(ref.patch_id, indices, {band.name: patch.bands[band.name] for band in bands}))
    digest, num_bytes = _digest(temporary)
    shard = Shard(plan.name, plan.split, len(plan.refs), num_bytes, digest, tuple(class_counts))
    temporary.replace(path)
    write_text_atomically(row_file, json.dumps(dataclasses.asdict(shard)))
    return shard


def _digest(path: Path) -> tuple[str, int]:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
        os.fsync(file.fileno())
        return sha256.hexdigest(), file.tell()


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, as hexadecimal digits."""
    return _digest(path)[0]
