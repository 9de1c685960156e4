"""Check of a data set: every byte is read again and compared with the manifest."""

from __future__ import annotations

import tensorflow as tf
import tqdm

from bigearth_tf.data.manifest import MANIFEST_NAME, Shard
from bigearth_tf.data.record_formats import FORMATS
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.runtime.progress import progress_bar
from bigearth_tf.runtime.system_files import list_own_files
from tfrecord_tools.conversion.shards import WORK_DIR

# Ends the line of a file that does not belong to the data set.
STRAY = "not in the manifest; move it elsewhere"


def verify(dataset: ShardedDataset) -> list[str]:
    """Returns one line for each problem; an empty list if there is none."""
    known = {shard.name for shard in dataset.shards()} | {MANIFEST_NAME, WORK_DIR}
    others = [name for name in list_own_files(dataset.folder) if name not in known]
    problems = [f"{dataset.folder / name}: {STRAY}" for name in others]
    seen: dict[str, str] = {}
    total = sum(shard.num_records for shard in dataset.shards())
    with progress_bar(total, "verify", "record") as progress:
        for shard in dataset.shards():
            problems += _verify_shard(dataset, shard, seen, progress)
    return problems


def _verify_shard(dataset: ShardedDataset, shard: Shard, seen: dict[str, str], progress: tqdm.tqdm) -> list[str]:
    path, manifest = dataset.shard_path(shard), dataset.manifest
    try:
        digest = file_sha256(path)
    except FileNotFoundError:
        return [f"{path}: is missing"]
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror})"]
    if digest != shard.sha256:
        return [f"{path}: SHA-256 differs from the manifest's"]
    check_record = FORMATS[manifest.record_format].check
    class_counts = [0] * len(manifest.class_names)
    problems: list[str] = []
    index = -1
    try:
        for index, record in enumerate(tf.data.TFRecordDataset(str(path), manifest.compression).as_numpy_iterator()):
            progress.update()
            try:
                patch_id, labels = check_record(record, manifest.bands, len(manifest.class_names), manifest.attributes)
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
