"""The parser and the checker of each record format."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.int64_schema import INT64_FORMATS, check_int64_record, parse_int64_examples
from bigearth_tf.data.record_schema import check_record, parse_examples


class RecordFormat(NamedTuple):
    """The functions of a format, with the contracts of `parse_examples` and `check_record` in record_schema.py."""

    parse: Callable[[tf.Tensor, Sequence[Band], int], dict[str, tf.Tensor]]
    check: Callable[[bytes, Sequence[Band], int, Sequence[str]], tuple[str, tuple[int, ...]]]


# `Manifest.record_format` -> functions.
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
