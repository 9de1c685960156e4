"""Files of int64 records: their list, their schema, and the place of each record in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets.bigearthnet_v1 import SPEC
from bigearth_tf.data.int64_schema import detect_int64_format, read_example
from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.runtime.files import require_utf8
from bigearth_tf.runtime.system_files import is_system_file
from tfrecord_tools.listing.known_layouts import describe_other_data
from tfrecord_tools.listing.packed_files import explain_packed_file

_NAME = re.compile(r"(train|val|validation|test)_(\d+)\.tfrecord")
_COPY_AGAIN = "Copy this file again from its origin."
# https://www.tensorflow.org/tutorials/load_data/tfrecord: u64 length, u32 CRC of length, data, u32 CRC of data.
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


class Int64Shard(NamedTuple):
    """A file of int64 records, and the split that its name gives."""

    path: Path
    split: str


class Frame(NamedTuple):
    """A record and its place in the file: `offset` is the first byte of `data`."""

    offset: int
    data: bytes

    @property
    def num_bytes(self) -> int:
        """Number of bytes of the record in the file, with its framing."""
        return _HEADER_BYTES + len(self.data) + _FOOTER_BYTES


def list_int64_shards(folder: Path) -> list[Int64Shard]:
    """Returns the shards `<split>_<number>.tfrecord` of a folder, by split and number; files of the system are ignored.

    Raises:
        FileNotFoundError: The folder is missing, or contains no shard.
        ValueError: The path is not UTF-8, a file has another name, or a number is missing.
    """
    require_utf8(folder)
    if not folder.is_dir():
        if not folder.is_file():
            raise FileNotFoundError(f"{folder}: no such folder.")
        packed = (
            explain_packed_file(os.fspath(folder)) or "is a file; name the folder of the shards. Unpack a tar first"
        )
        raise FileNotFoundError(f"{folder}: {packed}.")
    names = sorted({path.name for path in folder.iterdir() if not is_system_file(path.name)} - {MANIFEST_NAME})
    unknown = [name for name in names if not _NAME.fullmatch(name)]
    if unknown:
        raise ValueError(
            f"{folder / unknown[0]}: not named like a shard of int64 records, train_00.tfrecord, val_00.tfrecord, "
            f"test_00.tfrecord and so on ({len(unknown)} such names). Rename it, or move it elsewhere."
            f"{describe_other_data(os.fspath(folder), 'int64_tfrecords', 'input')}"
        )
    if not names:
        raise FileNotFoundError(
            f"{folder}: contains no shard such as train_00.tfrecord."
            f"{describe_other_data(os.fspath(folder), 'int64_tfrecords', 'input')}"
        )
    numbers: dict[str, dict[int, str]] = {}
    for name in names:
        prefix, number = _NAME.fullmatch(name).groups()  # type: ignore[union-attr]  # All match.
        numbers.setdefault(prefix, {})[int(number)] = name
    shards = []
    for prefix, names_of in numbers.items():
        missing = sorted(set(range(max(names_of))) - set(names_of))
        if missing:
            raise ValueError(
                f"{folder}: {names_of[max(names_of)]} is there but {prefix}_{missing[0]:02d}.tfrecord is missing. Copy "
                "the missing shards, or number the shards from 00."
            )
        split = "val" if prefix == "validation" else prefix
        shards += [Int64Shard(folder / names_of[number], split) for number in sorted(names_of)]
    return shards


def read_frames(path: Path) -> Iterator[Frame]:
    """Yields the records of a file in order, after checking their checksums.

    Raises:
        ValueError: The file is damaged, or empty.
        OSError: The file cannot be read.
    """
    offset, count = 0, 0
    try:
        for data in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
            frame = Frame(offset + _HEADER_BYTES, data)
            yield frame
            offset += frame.num_bytes
            count += 1
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path}: record {count} is damaged ({error.message}). {_COPY_AGAIN}") from error
    except tf.errors.OpError as error:
        raise OSError(f"{path}: cannot be read ({error.message}).") from error
    surplus = path.stat().st_size - offset
    if surplus:  # TensorFlow ignores remaining bytes if they are fewer than a header.
        raise ValueError(f"{path}: record {count} is damaged ({surplus} bytes are left over). {_COPY_AGAIN}")
    if not count:
        raise ValueError(f"{path}: contains no record. {_COPY_AGAIN}")


def detect_format_of_files(shards: list[Int64Shard]) -> tuple[str, tuple[Band, ...]]:
    """Returns the record format and the bands of the first record.

    Raises:
        ValueError: The record has none of the int64 schemas.
    """
    path = shards[0].path
    frame = next(read_frames(path))
    try:
        return detect_int64_format(read_example(frame.data))
    except ValueError as error:
        raise ValueError(f"{path}: record 0: {error}") from error


def int64_origin(record_format: str) -> str:
    """Returns the text that a manifest gives as the source of int64 records."""
    return f"TFRecords of the schema {record_format}, of {SPEC.source}"
