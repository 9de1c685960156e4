"""Byte offsets of the records of a shard, and the search for a broken record.

A TFRecord file is a sequence of frames: the length of the data (8 bytes, little-endian), a checksum (4 bytes), the
data, a checksum (4 bytes; https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details). The
lengths alone lead from record to record, so no data is read. Compressed files can only be read from their start, and
are not indexed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from bigearth_tf.data.manifest import RECONVERT, Shard
from bigearth_tf.data.record_formats import FORMATS
from bigearth_tf.data.sharded_dataset import ShardedDataset

_LENGTH_BYTES = 8
_FRAME_BYTES = 16
# More threads than cores: on a network disk, latency limits how fast lengths are read.
_THREADS = 16


def index_shards(dataset: ShardedDataset, shards: Sequence[Shard]) -> list[np.ndarray]:
    """Returns the byte offsets of the records [num_records] of each uncompressed shard.

    Offsets are cached until the file changes.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: A shard does not contain as many whole records as the manifest says.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(functools.partial(_index_shard, dataset), shards))


def check_record_counts(dataset: ShardedDataset) -> None:
    """Checks the number of records of all shards; compressed shards are only counted when they are read.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: A shard does not contain as many whole records as the manifest says.
    """
    if not dataset.manifest.compression:
        index_shards(dataset, dataset.shards())


def _index_shard(dataset: ShardedDataset, shard: Shard) -> np.ndarray:
    path = dataset.shard_path(shard)
    status = path.stat()
    return _read_offsets(path, shard.num_records, status.st_size, status.st_mtime_ns)


@functools.cache
def _read_offsets(path: Path, num_records: int, size: int, _modified_ns: int) -> np.ndarray:
    offsets = np.zeros(num_records + 1, np.int64)
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for position in range(num_records):
            length = os.pread(file.fileno(), _LENGTH_BYTES, offsets[position])
            end = int(offsets[position]) + struct.unpack("<Q", length.ljust(_LENGTH_BYTES))[0] + _FRAME_BYTES
            if end > size:
                break
            offsets[position + 1] = end
    if offsets[-1] != size:
        # Only reading the records finds the broken one. TensorFlow ignores trailing bytes too few for a record.
        reason = _first_broken(path, num_records, "") or f"{path}: bytes follow the last of {num_records} records."
        raise ValueError(f"{reason} {RECONVERT}")
    offsets.flags.writeable = False
    return offsets[:-1]


@contextlib.contextmanager
def name_broken_records(dataset: ShardedDataset, split: str) -> Iterator[None]:
    """Replaces TensorFlow's error for a broken record, raised in this context, by one that names shard and record.

    Raises:
        ValueError: A record cannot be read, or is not of the manifest's format.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError) as error:
        if not isinstance(error, tf.errors.DataLossError) and "IteratorGetNext" not in str(error):
            raise
        found = find_broken_record(dataset, split)
        if found is None:
            raise
        raise ValueError(f"{found} {RECONVERT}") from error


def find_broken_record(dataset: ShardedDataset, split: str) -> str | None:
    """Returns a line about the first broken record of a split, in the order of shards; None if no record is broken."""
    manifest = dataset.manifest
    record_format = FORMATS[manifest.record_format]

    def check(record: bytes) -> None:
        record_format.check(record, manifest.bands, len(manifest.class_names), manifest.attributes)

    def check_shard(shard: Shard) -> str | None:
        return _first_broken(dataset.shard_path(shard), shard.num_records, manifest.compression, check)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return next((found for found in pool.map(check_shard, dataset.shards(split)) if found), None)


def _first_broken(
    path: Path, num_records: int, compression: str, check: Callable[[bytes], object] | None = None
) -> str | None:
    """Returns a line about the first record that cannot be read or that `check` refuses, or about a wrong count."""
    position = 0
    try:
        for record in tf.data.TFRecordDataset(os.fspath(path), compression):
            if check:
                check(record.numpy())
            position += 1
    except tf.errors.DataLossError:
        return f"{path}: record {position} of 0 ... {num_records - 1} is damaged or cut short."
    except ValueError as error:
        return f"{path}: record {position} of 0 ... {num_records - 1} is broken: {error}."
    if position != num_records:
        return f"{path}: contains {position} records, the manifest says {num_records}."
    return None
