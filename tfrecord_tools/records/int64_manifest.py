"""The manifest of int64 records that stay where they are; every record is checked once."""

from __future__ import annotations

import os
from pathlib import Path

import tqdm

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets.bigearthnet_v1 import SPEC
from bigearth_tf.data.int64_schema import INT64_FORMATS, check_int64_record
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.data.manifest import MANIFEST_NAME, Manifest, Shard, make_plain_manifest, read_manifest, write_manifest
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.provenance import package_versions
from tfrecord_tools.listing.int64_files import (
    Int64Shard,
    detect_format_of_files,
    int64_origin,
    list_int64_shards,
    read_frames,
)


def adopt_int64_records(folder: Path) -> Manifest:
    """Checks every int64 record of a folder, writes the manifest next to the shards, and returns it.

    A folder with a manifest is not read again. Records without labels stay in their shards, and training reads them:
    only a conversion can leave them out.

    Raises:
        FileNotFoundError: The folder is missing, or contains no shard.
        ValueError: A file has another name, a record is damaged or has another schema than the first, a patch is there
            twice, or the existing manifest is of other shards.
        PermissionError: The folder cannot be written.
    """
    files = list_int64_shards(folder)
    if (folder / MANIFEST_NAME).exists():
        return _read_adopted(folder, files)
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"{folder}: cannot be written, and the manifest must be next to the shards. Fill a folder of yours with "
            "links to them, and adopt that folder."
        )
    record_format, bands = detect_format_of_files(files)
    shards = []
    seen: dict[str, str] = {}
    num_bytes = sum(file.path.stat().st_size for file in files)
    with progress_bar(num_bytes, "adopt", "B", unit_scale=True) as progress:
        for file in files:
            shards.append(_adopt_shard(file, record_format, bands, seen, progress))
    manifest = _create_manifest(record_format, bands, shards)
    write_manifest(manifest, folder)
    return manifest


def _create_manifest(record_format: str, bands: tuple[Band, ...], shards: list[Shard]) -> Manifest:
    return make_plain_manifest(
        dataset=SPEC.name,
        source=int64_origin(record_format),
        licence=SPEC.licence,
        label_kind=LabelKind.MULTI,
        class_names=CLASSES_19,
        bands=bands,
        record_format=record_format,
        shards=tuple(shards),
        versions=package_versions(),
    )


def _read_adopted(folder: Path, files: list[Int64Shard]) -> Manifest:
    manifest = read_manifest(folder)
    added = sorted({file.path.name for file in files} - {shard.name for shard in manifest.shards})
    if manifest.record_format not in INT64_FORMATS or added:
        raise ValueError(
            f"{folder / MANIFEST_NAME}: is not the manifest of the int64 records here"
            + (f", it lacks {', '.join(added)}" if added else "")
            + ". Delete it, and adopt the folder again."
        )
    return manifest


def _adopt_shard(
    file: Int64Shard, record_format: str, bands: tuple[Band, ...], seen: dict[str, str], progress: tqdm.tqdm
) -> Shard:
    """Returns the row of a shard after checking its records; adds its patches to `seen`, id -> file name."""
    class_counts = [0] * len(CLASSES_19)
    count = 0
    for frame in read_frames(file.path):
        try:
            patch_id, labels = check_int64_record(frame.data, bands, len(CLASSES_19), record_format=record_format)
        except ValueError as error:
            raise ValueError(f"{file.path}: record {count}: {error}") from error
        if patch_id in seen:
            raise ValueError(f"{file.path}: record {count}: patch {patch_id} is also in {seen[patch_id]}")
        seen[patch_id] = file.path.name
        for label in labels:
            class_counts[label] += 1
        count += 1
        progress.update(frame.num_bytes)
    num_bytes = file.path.stat().st_size
    return Shard(file.path.name, file.split, count, num_bytes, file_sha256(file.path), tuple(class_counts))
