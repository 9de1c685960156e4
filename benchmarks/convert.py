"""Benchmark of the converter: patches/s, compared with reading and decoding alone, and with a writer of int64 records.

    python -m benchmarks.convert --num_patches=8000 --repeats=3

Creates synthetic Sentinel-2 patches, then measures in turn, with the same patches and all files in the page cache:

- read bytes: opens and reads every GeoTIFF, without decoding; the upper limit of this machine.
- GDAL decode: opens every GeoTIFF with gdal.OpenEx and reads it with ReadAsArray; in one process, and in two, which
  shows the gain from a second core of this machine.
- convert: the real conversion into a new folder, with 1 and with 2 workers: labels, decoding, checks, records, SHA-256,
  flushing to the disk, manifest.
- int64 records: reads patches with GDAL and the same checks, then writes them in the int64 schema, one Int64List per
  band.

A worker needs seconds to load TensorFlow, whatever the number of patches. The steady rate therefore counts from the
first patch that each worker reads to the last shard with its final name; the rate of the whole command is printed next
to it. With few patches, two workers seem slower than they are: they do not start at the same time, and the first shard
of each is slower. Printed are medians of the repeats; other work on the machine makes them meaningless.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

if TYPE_CHECKING:
    from tfrecord_tools.listing.patch_ref import PatchRef
    from tfrecord_tools.source import Patch, Source

_NUM_PATCHES = flags.DEFINE_integer("num_patches", 8000, "Patches to create.", lower_bound=20)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Number of measurements of each side.", lower_bound=1)
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Folder that keeps the patches; default: a temporary one.")
_INT64_SHARE = 10  # The int64 writer is slow: it writes every tenth patch only.
_SHARDS = 4  # Per split: enough for two workers to finish at about the same time.


class Rate(NamedTuple):
    """Patches/s from the first patch of each worker on, and of the whole command."""

    steady: float
    whole_command: float


def main() -> None:
    """Runs the benchmark and prints its table."""
    from tfrecord_tools.synthetic.synthetic_patches import synthesize_archive

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(_WORK_DIR.value or temporary)
        archive = folder / f"patches-{_NUM_PATCHES.value}"
        synthesize_archive(str(archive), _NUM_PATCHES.value, 0, with_s1=False, workers=os.cpu_count() or 1)
        _measure(archive, folder)


def _measure(archive: Path, folder: Path) -> None:
    from tfrecord_tools.source import SourceInputs
    from tfrecord_tools.sources import open_source
    from tfrecord_tools.synthetic.synthetic_patches import LISTS_FOLDER, S2_FOLDER

    source = open_source(
        "bigearthnet_v1", SourceInputs(s2=str(archive / S2_FOLDER), lists_dir=str(archive / LISTS_FOLDER))
    )
    files = [f"{ref.parts[0]}/{ref.patch_id}_{band.name}.tif" for ref in source.refs for band in source.bands]
    count = len(source.refs)
    sides: dict[str, Callable[[], Rate]] = {
        "read bytes": functools.partial(_rate, count, functools.partial(_read_bytes, files)),
        "GDAL decode": functools.partial(_rate, count, functools.partial(_decode, files)),
        "GDAL decode, 2 processes": functools.partial(_decode_in_two, count, files),
        "convert, 1 worker": functools.partial(_convert, source, folder, 1),
        "convert, 2 workers": functools.partial(_convert, source, folder, 2),
        "int64 records": functools.partial(_write_int64, source, folder),
    }
    _read_bytes(files)
    _convert(source, folder, 1)  # Loads TensorFlow into this process.
    rates: dict[str, list[Rate]] = {name: [] for name in sides}
    with progress_bar(_REPEATS.value * len(sides), "benchmark", "side") as progress:
        for _ in range(_REPEATS.value):
            for name, side in sides.items():
                rates[name].append(side())
                progress.update()
    print(f"{count} patches, {len(files)} files, {os.cpu_count()} cores, median of {_REPEATS.value}")
    medians = {name: Rate(*map(statistics.median, zip(*values))) for name, values in rates.items()}
    print(f"{'patches/s':25} {'steady':>8} {'whole command':>14}   all, steady")
    for name, median in medians.items():
        listed = " ".join(f"{rate.steady:.0f}" for rate in rates[name])
        print(f"{name:25} {median.steady:8.0f} {median.whole_command:14.0f}   {listed}")
    one, two = medians["convert, 1 worker"].steady, medians["convert, 2 workers"].steady
    print(f"1 worker / GDAL decode    {one / medians['GDAL decode'].steady:6.2f}   (goal: at least 0.7)")
    second = medians["GDAL decode, 2 processes"].steady / medians["GDAL decode"].steady
    print(
        f"2 workers / 1 worker      {two / one:6.2f}   (goal on 2 cores: at least 1.8; GDAL decode alone {second:.2f})"
    )
    print(f"1 worker / int64 records  {one / medians['int64 records'].steady:6.1f}   (goal: at least 15)")


def _rate(count: int, work: Callable[[], None]) -> Rate:
    start = time.perf_counter()
    work()
    rate = count / (time.perf_counter() - start)
    return Rate(rate, rate)


def _read_bytes(files: list[str]) -> None:
    for name in files:
        with open(name, "rb") as file:
            file.read()


def _decode(files: list[str]) -> None:
    from osgeo import gdal

    gdal.UseExceptions()
    for name in files:
        gdal.OpenEx(name, gdal.OF_RASTER, allowed_drivers=["GTiff"]).ReadAsArray()


def _decode_in_two(count: int, files: list[str]) -> Rate:
    from tfrecord_tools.parallel import map_in_processes

    spans = list(map_in_processes(_timed_decode, [files[::2], files[1::2]], 2))
    rate = count / (max(end for _, end in spans) - min(start for start, _ in spans))
    return Rate(rate, rate)


def _timed_decode(files: list[str]) -> tuple[float, float]:
    start = time.time()
    _decode(files)
    return start, time.time()


def _convert(source: Source, folder: Path, workers: int) -> Rate:
    from tfrecord_tools.conversion.convert_source import ConversionOptions, convert

    with tempfile.TemporaryDirectory(dir=folder) as name:
        started = Path(name) / "started"
        started.mkdir()
        timed = dataclasses.replace(source, read=functools.partial(_read_timed, read=source.read, folder=started))
        begin = time.time()
        convert(timed, Path(name) / "out", ConversionOptions(num_shards=_SHARDS, workers=workers))
        whole = time.time() - begin
        starts = [float(note.read_text()) for note in started.iterdir()]
        end = max(shard.stat().st_ctime for shard in (Path(name) / "out").glob("*.tfrecord"))
    return Rate(len(source.refs) / (end - statistics.mean(starts)), len(source.refs) / whole)


def _read_timed(ref: PatchRef, read: Callable[[PatchRef], Patch], folder: Path) -> Patch:
    """Reads a patch; for the first patch of a process, writes the time before into the folder."""
    note = folder / str(os.getpid())
    if not note.exists():
        note.write_text(str(time.time()))
    return read(ref)


def _write_int64(source: Source, folder: Path) -> Rate:
    import tensorflow as tf

    from bigearth_tf.data.int64_schema import encode_int64_example
    from bigearth_tf.data.labels import label_indices

    refs = source.refs[::_INT64_SHARE]

    def write() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name, tf.io.TFRecordWriter(f"{name}/x.tfrecord") as writer:
            for ref in refs:
                patch = source.read(ref, gdal_only=True)
                indices = label_indices(patch.labels, source.class_names)
                writer.write(encode_int64_example(ref.patch_id, indices, patch.bands, source.bands))

    return _rate(len(refs), write)


if __name__ == "__main__":
    run_command(main)
