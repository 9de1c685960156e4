"""Patches of a split as patches to explain."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.explain.patches import PatchToExplain
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.input.shard_index import name_broken_records

_BATCH_SIZE = 32


def read_patches(
    data: ShardedDataset,
    split: str,
    bands: Sequence[Band],
    *,
    patch_ids: Collection[str] = (),
    count: int = 8,
) -> Iterator[PatchToExplain]:
    """Yields patches of a split, in its order; it is read only until all are found.

    Args:
        data: The data set.
        split: The split.
        bands: Bands to read.
        patch_ids: The patches; if there are none, the first `count`.
        count: Number of patches if none is named.

    Raises:
        ValueError: The split does not exist, or lacks a patch.
    """
    missing = set(patch_ids)
    number = len(missing) or min(count, data.num_records(split))
    batch_size = min(_BATCH_SIZE, data.num_records(split))
    batches = make_eval_dataset(data, split, bands, batch_size=batch_size, replica=Replica())
    with name_broken_records(data, split):
        for patch in itertools.chain.from_iterable(_split_batch(batch, data.class_names) for batch in batches):
            if patch_ids and patch.patch_id not in missing:
                continue
            missing.discard(patch.patch_id)
            yield patch
            number -= 1
            if not number:
                return
    raise ValueError(f"{data.folder}: the split {split} has no patch {', '.join(sorted(missing))}.")


def _split_batch(batch: Mapping[str, Any], class_names: Sequence[str]) -> Iterator[PatchToExplain]:
    for row in np.flatnonzero(batch["mask"]):
        yield PatchToExplain(
            patch_id=batch["patch_id"][row].numpy().decode(),
            bands={name: array[row].numpy() for name, array in batch["bands"].items()},
            labels=tuple(class_names[index] for index in np.flatnonzero(batch["labels"][row])),
        )
