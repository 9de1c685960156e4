"""Reads a converted data set again, whole, and says PASS or what is wrong with it.

    python -m tfrecord_tools.verify --data_dir=records

Every record's checksum and schema, label ranges, counts, unique patch ids, and every shard's size and SHA-256 are held
against the manifest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tqdm
from absl import flags

from bigearth_tf.bands import get_bands
from bigearth_tf.manifest import MANIFEST_NAME, Manifest, Shard, read_manifest
from bigearth_tf.runtime import run_command
from tfrecord_tools.shards import WORK_DIR, file_sha256

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with a manifest and its shards.", required=True)


def main() -> None:
    """Verifies, prints what was found, and exits with 1 where something is wrong."""
    folder = Path(_DATA_DIR.value)
    manifest = read_manifest(folder)
    problems = verify(folder, manifest)
    for problem in problems:
        print(problem)
    total = sum(shard.num_records for shard in manifest.shards)
    print(f"{'FAIL' if problems else 'PASS'}: {total} records in {len(manifest.shards)} shards of {folder}")
    sys.exit(1 if problems else 0)


def verify(folder: Path, manifest: Manifest) -> list[str]:
    """Returns one line for each thing that is wrong; an empty list means that the folder is whole."""
    known = {shard.name for shard in manifest.shards} | {MANIFEST_NAME, WORK_DIR}
    problems = [f"{path}: not in the manifest" for path in sorted(folder.iterdir()) if path.name not in known]
    seen: dict[str, str] = {}
    total = sum(shard.num_records for shard in manifest.shards)
    with tqdm.tqdm(total=total, desc="verify", unit="record", dynamic_ncols=True) as progress:
        for shard in manifest.shards:
            problems += _verify_shard(folder, manifest, shard, seen)
            progress.update(shard.num_records)
    return problems


def _verify_shard(folder: Path, manifest: Manifest, shard: Shard, seen: dict[str, str]) -> list[str]:
    import tensorflow as tf

    from bigearth_tf.example_schema import check_record

    path = folder / shard.name
    if file_sha256(path) != shard.sha256:
        return [f"{path}: SHA-256 differs from the manifest's; convert this data set again"]
    bands = get_bands(manifest.band_names)
    class_counts = [0] * len(manifest.class_names)
    problems: list[str] = []
    index = -1
    try:
        for index, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            try:
                patch_id, labels = check_record(record, bands, len(manifest.class_names))
            except ValueError as error:
                problems.append(f"{path}: record {index}: {error}")
                continue
            if patch_id in seen:
                problems.append(f"{path}: record {index}: patch {patch_id} is also in {seen[patch_id]}")
            seen[patch_id] = shard.name
            for label in labels:
                class_counts[label] += 1
    except tf.errors.DataLossError as error:
        problems.append(f"{path}: damaged after record {index}: {error.message}")
    if index + 1 != shard.num_records:
        problems.append(f"{path}: {index + 1} records, the manifest says {shard.num_records}")
    elif tuple(class_counts) != shard.class_counts and not problems:
        problems.append(f"{path}: counts of records per class differ from the manifest's")
    return problems


if __name__ == "__main__":
    run_command(main)
