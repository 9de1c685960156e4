"""Pixels of a plain TIFF, read without GDAL because nothing has to be decoded.

All files of BigEarthNet are plain: one uncompressed little-endian band in contiguous strips. Opening such a file takes
GDAL several times as long as reading its bytes. A file that is not exactly plain, or is damaged, is left to GDAL, which
reads or refuses it.
"""

from __future__ import annotations

import functools
import struct

import numpy as np

# TIFF 6.0 (https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf), sections 2, 8 and 19: numbers of tags.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR, _SAMPLE_FORMAT = 273, 277, 278, 279, 284, 339
_GEOREFERENCE_TAGS = {33550, 33922, 34735, 34736, 34737, 42113}  # Georeference and no-data value: they change no pixel.
_SHORT, _LONG = 3, 4
_FORMATS = {"u": 1, "f": 3}
_ENTRY = struct.Struct("<HHII")
_HEAD_BYTES = 8  # The header of every TIFF, which contains no pixel.
HEADER_BYTES = 1 << 16  # More than a plain file has in addition to its pixels.


def plain_pixels(content: bytes, size_px: int, dtype: str) -> np.ndarray | None:
    """Returns the pixels [size_px, size_px] of a plain TIFF of this size and type; None for any other content."""
    try:
        start = _find_pixels(content, size_px, dtype)
        if start is None:
            return None
        return np.frombuffer(content, dtype, size_px * size_px, start).reshape(size_px, size_px)
    except (struct.error, ValueError, KeyError):  # A part is missing, or beyond the end.
        return None


def _find_pixels(content: bytes, size_px: int, dtype: str) -> int | None:
    if content[:4] != b"II*\0":
        return None
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    first = directory + 2
    entries = _strip_entries(content[first : first + count * _ENTRY.size], count, size_px, dtype)
    if entries is None:
        return None
    offsets, sizes = _numbers(content, *entries[0]), _numbers(content, *entries[1])
    if sizes != _strip_sizes(size_px, dtype, entries[2]):
        return None
    if any(offset + size != following for offset, size, following in zip(offsets, sizes, offsets[1:])):
        return None
    return offsets[0] if offsets[0] >= _HEAD_BYTES and len(offsets) == len(sizes) else None


# All files of a band have the same directory; only the data that it points to differ. So it is parsed once.
@functools.lru_cache(maxsize=256)
def _strip_entries(
    directory: bytes, count: int, size_px: int, dtype: str
) -> tuple[tuple[int, int, int], tuple[int, int, int], int] | None:
    """Returns the entries of the strips' offsets and sizes, and the rows of a strip; None if the file is not plain."""
    entries = {tag: tuple(value) for tag, *value in _ENTRY.iter_unpack(directory)}
    if len(entries) != count or entries.keys() - _allowed_tags():
        return None
    if any(entries.get(tag) != value for tag, value in _required_entries(size_px, dtype)):
        return None
    (rows,) = _numbers(b"", *entries[_STRIP_ROWS])
    return entries[_STRIP_OFFSETS], entries[_STRIP_BYTES], rows


@functools.cache
def _allowed_tags() -> frozenset[int]:
    strips = {_PHOTOMETRIC, _STRIP_OFFSETS, _STRIP_ROWS, _STRIP_BYTES}
    return frozenset(strips | _GEOREFERENCE_TAGS | {tag for tag, _ in _required_entries(0, "uint16")})


@functools.cache
def _required_entries(size_px: int, dtype: str) -> tuple[tuple[int, tuple[int, int, int]], ...]:
    stored = np.dtype(dtype)
    values = {
        _WIDTH: size_px,
        _HEIGHT: size_px,
        _BITS: stored.itemsize * 8,
        _COMPRESSION: 1,
        _SAMPLES: 1,
        _PLANAR: 1,
        _SAMPLE_FORMAT: _FORMATS[stored.kind],
    }
    return tuple((tag, (_SHORT, 1, value)) for tag, value in values.items())


def _numbers(content: bytes, kind: int, count: int, value: int) -> tuple[int, ...]:
    """Returns the numbers of a directory entry: a single number is in the entry, several are at the offset in it."""
    if kind not in (_SHORT, _LONG) or not count or (kind == _SHORT and count == 2):
        raise ValueError("not a plain entry")
    return (value,) if count == 1 else struct.unpack_from(f"<{count}{'H' if kind == _SHORT else 'I'}", content, value)


@functools.cache
def _strip_sizes(size_px: int, dtype: str, rows: int) -> tuple[int, ...]:
    row_bytes = size_px * np.dtype(dtype).itemsize
    starts = range(0, size_px, min(rows, size_px) or size_px)
    return tuple((min(start + rows, size_px) - start) * row_bytes for start in starts)
