"""Which parser and which checker belong to the records of a manifest? One row a record format."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from bigearth_tf.bands import Band
from bigearth_tf.example_schema import check_record, parse_examples
from bigearth_tf.published_schema import PUBLISHED_FORMATS, check_published_record, parse_published_examples


class RecordFormat(NamedTuple):
    """How a format is read: `parse` as `example_schema.parse_examples`, `check` as `example_schema.check_record`."""

    parse: Callable[[tf.Tensor, Sequence[Band], int], dict[str, tf.Tensor]]
    check: Callable[[bytes, Sequence[Band], int, Sequence[str]], tuple[str, tuple[int, ...]]]


# By `Manifest.record_format`.
FORMATS: dict[str, RecordFormat] = {
    "bigearth_tf": RecordFormat(parse_examples, check_record),
    **{
        name: RecordFormat(
            functools.partial(parse_published_examples, record_format=name),
            functools.partial(check_published_record, record_format=name),
        )
        for name in PUBLISHED_FORMATS
    },
}
