"""Which parser and which checker belong to the records of a manifest? One row a record format."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.int64_schema import INT64_FORMATS, check_int64_record, parse_int64_examples
from bigearth_tf.data.record_schema import check_record, parse_examples


class RecordFormat(NamedTuple):
    """How a format is read: `parse` as `example_schema.parse_examples`, `check` as `example_schema.check_record`."""

    parse: Callable[[tf.Tensor, Sequence[Band], int], dict[str, tf.Tensor]]
    check: Callable[[bytes, Sequence[Band], int, Sequence[str]], tuple[str, tuple[int, ...]]]


# By `Manifest.record_format`.
FORMATS: dict[str, RecordFormat] = {
    "bigearth_tf": RecordFormat(parse_examples, check_record),
    **{
        name: RecordFormat(
            functools.partial(parse_int64_examples, record_format=name),
            functools.partial(check_int64_record, record_format=name),
        )
        for name in INT64_FORMATS
    },
}
