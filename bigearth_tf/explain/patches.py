"""Patches to explain: their bands, and their labels and their place where these are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Optional

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_eval_dataset

_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Georeference:
    """Where the upper left corner of a patch is: a CRS as WKT, and (left, pixel width, 0, top, 0, minus pixel height).

    The pixels are those of the patch's finest band, in units of the CRS.
    """

    crs_wkt: str
    geotransform: tuple[float, float, float, float, float, float]


@dataclasses.dataclass(frozen=True)
class PatchToExplain:
    """A patch: band name -> [size_px, size_px] as stored; `labels` are its true classes.

    `labels` and `georeference` are None where they are not known; records have no georeference.
    """

    patch_id: str
    bands: Mapping[str, np.ndarray]
    labels: Optional[tuple[str, ...]] = None
    georeference: Optional[Georeference] = None


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
    for batch in make_eval_dataset(data, split, bands, batch_size=batch_size, replica=Replica()):
        for row, patch_id in enumerate(batch["patch_id"].numpy().astype(str)):
            wanted = patch_id in missing if patch_ids else True
            if not wanted or not batch["mask"][row] or not number:
                continue
            number -= 1
            missing.discard(patch_id)
            labels = tuple(data.class_names[index] for index in np.flatnonzero(batch["labels"][row]))
            yield PatchToExplain(patch_id, {name: array[row].numpy() for name, array in batch["bands"].items()}, labels)
        if not number:
            return
    if missing:
        raise ValueError(f"{data.folder}: the split {split} has no patch {', '.join(sorted(missing))}.")
