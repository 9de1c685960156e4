"""Comparison of records with their source: every pixel bit by bit, every label and attribute, and nothing else."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.labels import label_indices
from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.progress import progress_bar
from tfrecord_tools.conversion.problems import find_problem
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.parallel import map_in_processes, report_progress
from tfrecord_tools.records.extracted_patch import extract_patch
from tfrecord_tools.source import PatchError, ReadPatch, Source

if TYPE_CHECKING:
    from tfrecord_tools.records.stored_records import StoredRecord


class _Expected(NamedTuple):
    """The part of a source that a process needs: its patches by id, the function that reads one, and class names."""

    refs: dict[str, PatchRef]
    read: ReadPatch
    class_names: tuple[str, ...]
    roots: tuple[str, ...]


def compare(dataset: ShardedDataset, source: Source, workers: int = 1) -> list[str]:
    """Returns one line for each difference between records and source; an empty list if there is none.

    A patch that the manifest tolerates as broken may be missing from the records.

    Raises:
        ValueError: The source is opened with other flags than for these records, or a shard is damaged.
    """
    require_same_source(dataset, source)
    expected = _Expected({ref.patch_id: ref for ref in source.refs}, source.read, source.class_names, source.roots)
    shards = [shard for split in dataset.manifest.splits for shard in dataset.shards(split)]
    compare_shard = functools.partial(_compare_shard, dataset, expected)
    differences: list[str] = []
    found: set[str] = set()
    with progress_bar(sum(shard.num_records for shard in shards), "compare", "record") as progress:
        for lines, patch_ids in map_in_processes(compare_shard, shards, workers, on_progress=progress.update):
            differences += lines
            found.update(patch_ids)
            progress.set_postfix(differences=len(differences), refresh=False)
    tolerated = {problem.get("patch_id") for problem in dataset.manifest.problems}
    missing = [ref for patch_id, ref in expected.refs.items() if patch_id not in found and patch_id not in tolerated]
    return differences + [
        f"{dataset.folder}: patch {ref.patch_id} of the source ({ref.split}) is in no shard" for ref in missing
    ]


def require_same_source(dataset: ShardedDataset, source: Source) -> None:
    """Checks that a source is opened with the same flags as for these records.

    Raises:
        ValueError: The source gives other bands or classes, or has other options.
    """

    def facts(names: tuple[str, ...], bands: tuple[Band, ...], options: dict[str, Any]) -> dict[str, Any]:
        rows = ", ".join(f"{band.name} {band.dtype} {band.size_px} px" for band in bands)
        return {**options, "bands": rows, "number of classes": len(names), "class names": names}

    manifest = dataset.manifest
    stored = facts(manifest.class_names, manifest.bands, manifest.options)
    given = facts(source.class_names, source.bands, {**source.options, "source": source.spec.name})
    different = [key for key in given if key in stored and stored[key] != given[key]]
    if different:
        values = "; ".join(
            f"{key}: {stored[key]} there, {given[key]} here" for key in different if key != "class names"
        )
        raise ValueError(
            f"{dataset.folder}: was converted from another source, or with other flags "
            f"({values or 'other class names'}). Name the source with the flags of the conversion."
        )


def _compare_shard(dataset: ShardedDataset, expected: _Expected, shard: Shard) -> tuple[list[str], list[str]]:
    """Returns a line for each difference of a shard's records, and their patch ids."""
    # TensorFlow takes seconds to load: only a process that reads records loads it.
    from tfrecord_tools.records.stored_records import read_records

    lines, patch_ids = [], []
    for record in read_records(dataset, shard):
        patch_ids.append(record.patch_id)
        differences = _compare_record(record, shard.split, expected)
        lines += [f"{dataset.shard_path(shard)}: patch {record.patch_id} {line}" for line in differences]
        report_progress()
    return lines, patch_ids


def _compare_record(record: StoredRecord, split: str, expected: _Expected) -> list[str]:
    ref = expected.refs.get(record.patch_id)
    if ref is None:
        return ["is not in the source"]
    extracted = ref
    try:
        # A comparison must not repeat a mistake of the conversion's reader of plain files, or of members of a tar.
        with extract_patch(ref) as extracted:
            patch = expected.read(extracted, gdal_only=True)
        indices = tuple(sorted(label_indices(patch.labels, expected.class_names)))
    except (PatchError, OSError) as error:
        problem = find_problem(ref, error, expected.roots)
        text = f"{problem.file}: {problem.problem}; expected {problem.expected}. {problem.mend}"
        for own, part in zip(extracted.parts, ref.parts):
            text = text.replace(str(own), str(part))
        return [f"cannot be compared: {text}"]
    lines = [] if ref.split == split else [f"is in split {ref.split} of the source, in {split} here"]
    if indices != record.label_indices:
        stored = [expected.class_names[index] for index in record.label_indices]
        lines.append(f"has labels {stored}, {list(patch.labels)} in the source")
    if patch.attributes != record.attributes:
        lines.append(f"has attributes {record.attributes}, {patch.attributes} in the source")
    return lines + _compare_pixels(record.bands, patch.bands)


def _compare_pixels(stored: dict[str, np.ndarray], original: dict[str, np.ndarray]) -> list[str]:
    lines = []
    for name, pixels in stored.items():
        other = original[name]
        if (pixels.shape, pixels.dtype) != (other.shape, other.dtype):
            lines.append(f"band {name}: {pixels.dtype} {pixels.shape}, {other.dtype} {other.shape} in the source")
            continue
        # As integers: as floats, 0.0 would equal -0.0, and NaN would not equal itself.
        bits = f"u{pixels.dtype.itemsize}"
        different = np.argwhere(pixels.view(bits) != np.ascontiguousarray(other).view(bits))
        if len(different):
            row, column = map(int, different[0])
            lines.append(
                f"band {name}: {len(different)} pixels differ, the first in row {row}, column {column}: "
                f"{pixels[row, column]}, {other[row, column]} in the source"
            )
    return lines
