"""Do the records hold what the source holds? Every pixel bit by bit, every label and attribute, and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.labels import label_indices
from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.progress import progress_bar
from tfrecord_tools.parallel import map_in_processes
from tfrecord_tools.raster.geotiff import use_plain_reader
from tfrecord_tools.source import Patch, PatchError, PatchRef, Source


class _Expected(NamedTuple):
    """What a process needs of the source: its patches by id, how one is read, and the names of its classes."""

    refs: dict[str, PatchRef]
    read: Callable[[PatchRef], Patch]
    class_names: tuple[str, ...]


_in_this_process: list[_Expected] = []


def compare(dataset: ShardedDataset, source: Source, workers: int = 1) -> list[str]:
    """Returns one line for each difference between records and source; an empty list means that there is none.

    A patch that the manifest tolerates as broken need not be in the records.

    Raises:
        ValueError: The source is opened in another way than it was for these records, or a shard is damaged.
    """
    require_same_source(dataset, source)
    expected = _Expected({ref.patch_id: ref for ref in source.refs}, source.read, source.class_names)
    shards = [shard for split in dataset.manifest.splits for shard in dataset.shards(split)]
    compare_shard = functools.partial(_compare_shard, dataset)
    differences: list[str] = []
    found: set[str] = set()
    try:
        with progress_bar(sum(shard.num_records for shard in shards), "compare", "record") as progress:
            results = map_in_processes(compare_shard, shards, workers, _remember, (expected,))
            for shard, (lines, patch_ids) in zip(shards, results):
                differences += lines
                found.update(patch_ids)
                progress.update(shard.num_records)
                progress.set_postfix(differences=len(differences), refresh=False)
    finally:
        use_plain_reader(True)
    tolerated = {problem.get("patch_id") for problem in dataset.manifest.problems}
    absent = [ref for patch_id, ref in expected.refs.items() if patch_id not in found and patch_id not in tolerated]
    return differences + [
        f"{dataset.folder}: patch {ref.patch_id} of the source ({ref.split}) is in no shard" for ref in absent
    ]


def _remember(expected: _Expected) -> None:
    _in_this_process[:] = [expected]
    use_plain_reader(False)  # A comparison must not share a mistake with the conversion.


def require_same_source(dataset: ShardedDataset, source: Source) -> None:
    """Checks that a source is opened as it was for these records.

    Raises:
        ValueError: It gives other bands or classes, or has other options.
    """

    def facts(names: tuple[str, ...], bands: tuple[Band, ...], options: dict[str, Any]) -> dict[str, Any]:
        rows = ", ".join(f"{band.name} {band.dtype} {band.size_px} px" for band in bands)
        return {**options, "bands": rows, "number of classes": len(names), "class names": names}

    manifest = dataset.manifest
    held = facts(manifest.class_names, manifest.bands, manifest.options)
    given = facts(source.class_names, source.bands, {**source.options, "source": source.spec.name})
    different = [key for key in given if key in held and held[key] != given[key]]
    if different:
        told = "; ".join(f"{key}: {held[key]} there, {given[key]} here" for key in different if key != "class names")
        raise ValueError(
            f"{dataset.folder}: was converted from another source, or with other flags "
            f"({told or 'other class names'}). "
            "Name the source with the flags of the conversion."
        )


def _compare_shard(dataset: ShardedDataset, shard: Shard) -> tuple[list[str], list[str]]:
    """Returns a line for each difference of a shard's records, and their patch ids."""
    # TensorFlow takes seconds to load: only a process that reads pays for it.
    from tfrecord_tools.records.stored_records import StoredRecord, read_records

    (expected,) = _in_this_process

    def differences(record: StoredRecord) -> list[str]:
        ref = expected.refs.get(record.patch_id)
        if ref is None:
            return ["is not in the source"]
        try:
            patch = expected.read(ref)
            indices = tuple(sorted(label_indices(patch.labels, expected.class_names)))
        except PatchError as error:
            return [f"cannot be compared: {error}"]
        lines = [] if ref.split == shard.split else [f"is in split {ref.split} of the source, in {shard.split} here"]
        if indices != record.label_indices:
            stored = [dataset.class_names[index] for index in record.label_indices]
            lines.append(f"has labels {stored}, {list(patch.labels)} in the source")
        if patch.attributes != record.attributes:
            lines.append(f"has attributes {record.attributes}, {patch.attributes} in the source")
        return lines + _compare_pixels(record.bands, patch.bands)

    lines, patch_ids = [], []
    for record in read_records(dataset, shard):
        patch_ids.append(record.patch_id)
        lines += [f"{dataset.shard_path(shard)}: patch {record.patch_id} {line}" for line in differences(record)]
    return lines, patch_ids


def _compare_pixels(stored: dict[str, np.ndarray], original: dict[str, np.ndarray]) -> list[str]:
    lines = []
    for name, pixels in stored.items():
        other = original[name]
        if (pixels.shape, pixels.dtype) != (other.shape, other.dtype):
            lines.append(f"band {name}: {pixels.dtype} {pixels.shape}, {other.dtype} {other.shape} in the source")
            continue
        # As integers: floats would call 0.0 and -0.0 equal, and no number equal to itself.
        bits = f"u{pixels.dtype.itemsize}"
        different = np.argwhere(pixels.view(bits) != np.ascontiguousarray(other).view(bits))
        if len(different):
            row, column = map(int, different[0])
            lines.append(
                f"band {name}: {len(different)} pixels differ, the first in row {row}, column {column}: "
                f"{pixels[row, column]}, {other[row, column]} in the source"
            )
    return lines
