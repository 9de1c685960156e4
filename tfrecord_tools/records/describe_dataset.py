"""A data set as text: its manifest in words, and its class frequencies as bars of characters."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest

_MIN_BAR, _MAX_NAME = 10, 44
_EIGHTHS = " ▏▎▍▌▋▊▉"


def describe(manifest: Manifest) -> str:
    """Returns the content of a manifest as text: origin, bands, counts, what was left out, and what is broken."""
    labels = "any number of labels per record" if manifest.label_kind is LabelKind.MULTI else "one label per record"
    facts = [
        ("data set", manifest.dataset),
        ("source", manifest.source),
        ("licence", manifest.licence),
        ("classes", f"{len(manifest.class_names)}, {labels}"),
        ("attributes", ", ".join(manifest.attributes) or "none"),
        ("records", f"format {manifest.record_format}, {manifest.compression or 'not compressed'}"),
        ("made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) or "unknown"),
    ]
    width = max(len(name) for name, _ in facts)
    parts = ["\n".join(f"{name:<{width}}  {text}" for name, text in facts), _bands(manifest), _splits(manifest)]
    if manifest.exclusions:
        parts.append(text_table(("left out", "patches"), manifest.exclusions.items(), left=1))
    lines = [f"{problem.get('file', '')}: {problem.get('problem', '')}" for problem in manifest.problems]
    parts.append("\n".join([f"broken patches that were tolerated: {len(lines) or 'none'}", *lines]))
    return "\n\n".join(parts)


def _bands(manifest: Manifest) -> str:
    rows = [
        (
            band.name,
            band.sensor,
            f"{band.size_px} x {band.size_px}",
            f"{band.resolution_m} m",
            band.dtype,
            band.unit,
            "-" if band.mean is None else f"{band.mean:.2f}",
            "-" if band.std is None else f"{band.std:.2f}",
        )
        for band in manifest.bands
    ]
    known, command = manifest.statistics, "`python -m tfrecord_tools.band_stats --write`"
    if known:
        origin = f"computed over the {known['num_records']:,} records of {known['split']}"
    elif any(band.mean is None or band.std is None for band in manifest.bands):
        origin = f"not known yet; {command} computes them"
    else:
        origin = f"those published for {manifest.dataset}; {command} computes those of these records"
    table = text_table(("band", "sensor", "size in px", "pixel", "type", "unit", "mean", "std"), rows, left=6)
    return f"{table}\nmean and std: {origin}"


def _splits(manifest: Manifest) -> str:
    rows = []
    for split in ordered_splits(manifest):
        shards = manifest.split_shards(split)
        counts = sorted(shard.num_records for shard in shards)
        rows.append(
            (
                split,
                f"{sum(counts):,}",
                f"{len(shards):,}",
                f"{counts[0]:,}",
                f"{statistics.median(counts):,.10g}",
                f"{counts[-1]:,}",
                _size(sum(shard.num_bytes for shard in shards)),
            )
        )
    return text_table(("split", "records", "shards", "per shard: min", "median", "max", "size"), rows, left=1)


def _size(num_bytes: int) -> str:
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def text_table(titles: Sequence[str], rows: Iterable[Sequence[object]], left: int) -> str:
    """Returns rows under titles; the first `left` columns are left-aligned, the others right-aligned."""
    lines = [tuple(map(str, row)) for row in (titles, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if column < left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def class_chart(manifest: Manifest, width: int, ascii_only: bool = False) -> str:
    """Returns, for each split, one bar per class in class order: the share of records with that class.

    All splits have the same scale, so that they can be compared. Names that do not fit are shortened.

    Args:
        manifest: The manifest of the data set.
        width: Width of the terminal, in characters; below about fifty, lines are longer than it.
        ascii_only: Draw with "#", for terminals without block characters.
    """
    scale = max(share for split in manifest.splits for share in class_shares(manifest, split)) or 1.0
    most = max(count for split in manifest.splits for count in manifest.class_counts(split))
    numbers = len(f"{most:,}") + len("  100.0 %") + 2
    name_width = max(12, min(_MAX_NAME, max(map(len, manifest.class_names)), width - numbers - 2 * _MIN_BAR))
    bar_width = max(_MIN_BAR, width - name_width - numbers - 2)
    charts = []
    for split in ordered_splits(manifest):
        lines = [f"{split}: {manifest.num_records(split):,} records, {share_title(manifest)}"]
        counts, shares = manifest.class_counts(split), class_shares(manifest, split)
        for name, count, share in zip(manifest.class_names, counts, shares):
            bar = _bar(share / scale, bar_width, ascii_only)
            lines.append(
                f"{shorten(name, name_width):<{name_width}}  {bar:<{bar_width}}  "
                f"{count:>{len(f'{most:,}')},}  {share:6.1%}".replace("%", " %")
            )
        charts.append("\n".join(lines))
    return "\n\n".join(charts)


def class_shares(manifest: Manifest, split: str) -> tuple[float, ...]:
    """Returns, for each class, the share of a split's records with that class."""
    records = manifest.num_records(split)
    return tuple(count / records if records else 0.0 for count in manifest.class_counts(split))


def share_title(manifest: Manifest) -> str:
    """Returns the title of the shares of all classes."""
    several = "; a record may have several" if manifest.label_kind is LabelKind.MULTI else ""
    return f"share of records with each class{several}"


def shorten(name: str, width: int) -> str:
    """Returns a name of at most `width` characters, with dots in place of the rest."""
    return name if len(name) <= width else name[: width - 3].rstrip(" ,") + "..."


def ordered_splits(manifest: Manifest) -> tuple[str, ...]:
    """Returns the splits in their usual order: train, val, test, then others."""
    usual = ("train", "val", "test")
    return tuple(sorted(manifest.splits, key=lambda split: usual.index(split) if split in usual else len(usual)))


def _bar(fraction: float, width: int, ascii_only: bool) -> str:
    """Returns a bar over a fraction of the width; a fraction above 0 is always visible."""
    if ascii_only:
        return "#" * max(round(fraction * width), fraction > 0)
    eighths = max(round(fraction * width * 8), int(fraction > 0))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
