"""How fast is the converter beside what it cannot do without, and beside a plain writer of int64 records?

    python -m benchmarks.convert --num_patches=8000 --repeats=3

Makes synthetic Sentinel-2 patches, then measures in turn, the same patches each time, everything in the page cache:

- read bytes: every GeoTIFF is opened and read, nothing else; the ceiling of this machine.
- GDAL decode: every GeoTIFF is opened with gdal.OpenEx and read with ReadAsArray, nothing else; by one process, and by
  two, which shows what a second core of this machine is worth.
- convert: the real conversion into a new folder, with 1 and with 2 workers: labels, decoding, checks, records, SHA-256,
  flushing to the disk, manifest.
- int64 records: patches read by GDAL with the same checks, then written in the published schema, an Int64List a band.

A worker loads TensorFlow once, for seconds, whatever the number of patches. Rates therefore count from the first patch
that each worker reads to the last shard under its final name; the whole command's rate is told beside it. With few
patches two workers seem slower than they are: one begins before the other, and each first shard warms things up.
Medians of the repeats; other work on the machine makes them meaningless.
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
from typing import TYPE_CHECKING

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

if TYPE_CHECKING:
    from tfrecord_tools.listing.patch_ref import PatchRef
    from tfrecord_tools.source import Patch, Source

_NUM_PATCHES = flags.DEFINE_integer("num_patches", 8000, "Patches to make.", lower_bound=20)
_REPEATS = flags.DEFINE_integer("repeats", 3, "How often each side is measured.", lower_bound=1)
_WORK_DIR = flags.DEFINE_string("work_dir", None, "Folder to keep the patches in; default: a temporary one.")
_INT64_SHARE = 10  # The int64 writer is so slow that it writes every tenth patch only.
_SHARDS = 4  # Of each split: enough for two workers to end together.


def main() -> None:
    """Measures, as the flags say."""
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
    sides: dict[str, Callable[[], tuple[float, float]]] = {
        "read bytes": functools.partial(_rate, count, functools.partial(_read_bytes, files)),
        "GDAL decode": functools.partial(_rate, count, functools.partial(_decode, files)),
        "GDAL decode, 2 processes": functools.partial(_decode_in_two, count, files),
        "convert, 1 worker": functools.partial(_convert, source, folder, 1),
        "convert, 2 workers": functools.partial(_convert, source, folder, 2),
        "int64 records": functools.partial(_write_int64, source, folder),
    }
    _read_bytes(files)
    _convert(source, folder, 1)  # Loads TensorFlow into this process.
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with progress_bar(_REPEATS.value * len(sides), "benchmark", "side") as progress:
        for _ in range(_REPEATS.value):
            for name, side in sides.items():
                rates[name].append(side())
                progress.update()
    print(f"{count} patches, {len(files)} files, {os.cpu_count()} cores, median of {_REPEATS.value}")
    medians = {name: tuple(map(statistics.median, zip(*pairs))) for name, pairs in rates.items()}
    print(f"{'patches/s':25} {'steady':>8} {'whole command':>14}   all, steady")
    for name, (steady, whole) in medians.items():
        print(f"{name:25} {steady:8.0f} {whole:14.0f}   {' '.join(f'{pair[0]:.0f}' for pair in rates[name])}")
    one, two = medians["convert, 1 worker"][0], medians["convert, 2 workers"][0]
    print(f"1 worker / GDAL decode    {one / medians['GDAL decode'][0]:6.2f}   (goal: at least 0.7)")
    second = medians["GDAL decode, 2 processes"][0] / medians["GDAL decode"][0]
    print(
        f"2 workers / 1 worker      {two / one:6.2f}   (goal on 2 cores: at least 1.8; GDAL decode alone {second:.2f})"
    )
    print(f"1 worker / int64 records  {one / medians['int64 records'][0]:6.1f}   (goal: at least 15)")


def _rate(count: int, work: Callable[[], None]) -> tuple[float, float]:
    start = time.perf_counter()
    work()
    rate = count / (time.perf_counter() - start)
    return rate, rate


def _read_bytes(files: list[str]) -> None:
    for name in files:
        with open(name, "rb") as file:
            file.read()


def _decode(files: list[str]) -> None:
    from osgeo import gdal

    gdal.UseExceptions()
    for name in files:
        gdal.OpenEx(name, gdal.OF_RASTER, allowed_drivers=["GTiff"]).ReadAsArray()


def _decode_in_two(count: int, files: list[str]) -> tuple[float, float]:
    from tfrecord_tools.parallel import map_in_processes

    spans = list(map_in_processes(_timed_decode, [files[::2], files[1::2]], 2))
    rate = count / (max(end for _, end in spans) - min(start for start, _ in spans))
    return rate, rate


def _timed_decode(files: list[str]) -> tuple[float, float]:
    start = time.time()
    _decode(files)
    return start, time.time()


def _convert(source: Source, folder: Path, workers: int) -> tuple[float, float]:
    """Returns the patches/s of a conversion from the workers' first patches on, and of the whole."""
    from tfrecord_tools.conversion.convert_source import ConversionOptions, convert

    with tempfile.TemporaryDirectory(dir=folder) as name:
        started = Path(name) / "started"
        started.mkdir()
        timed = dataclasses.replace(source, read=functools.partial(_read_timed, read=source.read, folder=started))
        _FIRST_SEEN.clear()
        begin = time.time()
        convert(timed, Path(name) / "out", ConversionOptions(num_shards=_SHARDS, workers=workers))
        whole = time.time() - begin
        starts = [float(note.read_text()) for note in started.iterdir()]
        end = max(shard.stat().st_ctime for shard in (Path(name) / "out").glob("*.tfrecord"))
    return len(source.refs) / (end - statistics.mean(starts)), len(source.refs) / whole


_FIRST_SEEN: list[float] = []


def _read_timed(ref: PatchRef, read: Callable[[PatchRef], Patch], folder: Path) -> Patch:
    """Reads a patch, and notes when this process read its first."""
    if not _FIRST_SEEN:
        _FIRST_SEEN.append(time.time())
        (folder / str(os.getpid())).write_text(str(_FIRST_SEEN[0]))
    return read(ref)


def _write_int64(source: Source, folder: Path) -> tuple[float, float]:
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
