"""Exact mean and standard deviation of each band over a split, computed in one pass over shards in parallel.

Sums are integers or, for float bands, exact fractions. The order of additions changes no bit, so that the result does
not depend on the number of processes or the division into shards.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from fractions import Fraction

import numpy as np

from bigearth_tf.data.bands import Band
from bigearth_tf.data.manifest import Manifest, Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.runtime.progress import progress_bar
from tfrecord_tools.parallel import map_in_processes, report_progress
from tfrecord_tools.records.describe_dataset import text_table

_MAX_EXACT_BYTES = 2  # Of an integer type: the squares of wider types could overflow the 64-bit sum of a patch.


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, sum, sum of squares, minimum, maximum and number of zeros of some pixels of one band."""

    count: int
    total: Fraction
    squares: Fraction
    low: float
    high: float
    zeros: int

    @property
    def mean(self) -> float:
        """The mean, rounded once."""
        return float(self.total / self.count)

    @property
    def std(self) -> float:
        """The population standard deviation, the root of an exact variance."""
        return math.sqrt(max(Fraction(0), self.squares / self.count - (self.total / self.count) ** 2))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of pixels."""
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.low, other.low),
            max(self.high, other.high),
            self.zeros + other.zeros,
        )


NO_PIXELS = Moments(0, Fraction(0), Fraction(0), math.inf, -math.inf, 0)


def pixel_moments(pixels: np.ndarray) -> Moments:
    """Returns the moments of the pixels of one patch: exact for integers, rounded within the patch for floats.

    Raises:
        ValueError: A pixel is not finite, or its type would overflow.
    """
    count, low, high = pixels.size, float(pixels.min()), float(pixels.max())
    zeros = count - int(np.count_nonzero(pixels))
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= _MAX_EXACT_BYTES:
        whole = pixels.astype(np.int64).ravel()
        return Moments(count, Fraction(int(whole.sum())), Fraction(int(np.dot(whole, whole))), low, high, zeros)
    if pixels.dtype.kind != "f":
        raise ValueError(f"{pixels.dtype.name} pixels; allowed are floats and integers of up to 16 bits")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("a pixel is not finite")
    wide = pixels.astype(np.float64).ravel()
    # Sums of offsets from a value near the mean of the patch lose little to rounding; the shift back to 0 is exact.
    near = float(pixels.dtype.type(wide.mean()))
    offsets = wide - near
    first, second, center = Fraction(float(offsets.sum())), Fraction(float(np.square(offsets).sum())), Fraction(near)
    total = first + count * center
    return Moments(count, total, second + 2 * center * first + count * center**2, low, high, zeros)


def compute_moments(dataset: ShardedDataset, split: str, workers: int = 1) -> dict[str, Moments]:
    """Returns the moments of each band over all pixels of a split.

    Raises:
        ValueError: The split is missing, or a record is damaged.
    """
    shards = dataset.shards(split)
    totals = {band.name: NO_PIXELS for band in dataset.manifest.bands}
    of_shard = functools.partial(_shard_moments, dataset)
    with progress_bar(dataset.num_records(split), "band statistics", "record") as progress:
        for moments in map_in_processes(of_shard, shards, workers, on_progress=progress.update):
            totals = {name: total + moments[name] for name, total in totals.items()}
    return totals


def _shard_moments(dataset: ShardedDataset, shard: Shard) -> dict[str, Moments]:
    # TensorFlow takes seconds to load: only a process that reads records loads it.
    from tfrecord_tools.records.stored_records import read_records

    totals = {band.name: NO_PIXELS for band in dataset.manifest.bands}
    for record in read_records(dataset, shard):
        for name, pixels in record.bands.items():
            try:
                totals[name] += pixel_moments(pixels)
            except ValueError as error:
                raise ValueError(
                    f"{dataset.shard_path(shard)}: patch {record.patch_id}: band {name}: {error}"
                ) from error
        report_progress()
    return totals


def replace_statistics(manifest: Manifest, split: str, moments: dict[str, Moments]) -> Manifest:
    """Returns the manifest with these mean and std in the rows of its bands, and a note of their origin."""
    bands = tuple(
        dataclasses.replace(band, mean=moments[band.name].mean, std=moments[band.name].std) for band in manifest.bands
    )
    statistics = {"split": split, "num_records": manifest.num_records(split)}
    return dataclasses.replace(manifest, bands=bands, statistics=statistics)


def describe_moments(bands: tuple[Band, ...], moments: dict[str, Moments]) -> str:
    """Returns a table as text: for each band its statistics, those of the manifest, and the difference."""
    titles = ("band", "mean", "manifest", "difference", "std", "manifest", "difference", "min", "max", "zeros")
    rows = []
    for band in bands:
        found = moments[band.name]
        cells = [band.name]
        for value, stored in ((found.mean, band.mean), (found.std, band.std)):
            cells += [f"{value:.4f}", "-", "-"] if stored is None else _compare(value, stored)
        rows.append((*cells, f"{found.low:g}", f"{found.high:g}", f"{found.zeros / found.count:.2%}"))
    return text_table(titles, rows, left=1)


def _compare(value: float, stored: float) -> list[str]:
    relative = f" ({(value - stored) / abs(stored):+.1%})" if stored else ""
    return [f"{value:.4f}", f"{stored:.4f}", f"{value - stored:+.4f}{relative}"]
