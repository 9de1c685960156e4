"""Images of a data set: class frequencies as bars, and a contact sheet of patches."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from bigearth_tf.data.datasets import find_level
from bigearth_tf.data.manifest import Manifest
from bigearth_tf.data.true_color import common_stretch, describe_stretch, true_color
from bigearth_tf.runtime.figures import COLORS, save_figure, wrap, wrap_id
from tfrecord_tools.records.describe_dataset import class_shares, ordered_splits, share_title
from tfrecord_tools.records.stored_records import StoredRecord

_COLUMNS = 4
_LINE_INCHES = 0.135


def plot_class_frequencies(stem: Path, manifest: Manifest) -> tuple[Path, ...]:
    """Writes a figure with a group of bars per class, one bar per split: the share of its records with the class."""
    splits = ordered_splits(manifest)
    thickness = 0.8 / len(splits)
    rows = np.arange(len(manifest.class_names))
    figure, axes = plt.subplots(figsize=(9, 1.4 + len(rows) * max(0.34, 0.13 * len(splits))), layout="constrained")
    for number, split in enumerate(splits):
        shares = class_shares(manifest, split)
        places = rows + (number - (len(splits) - 1) / 2) * thickness
        label = f"{split} ({manifest.num_records(split):,} records)"
        bars = axes.barh(places, shares, height=thickness * 0.92, color=COLORS[number % len(COLORS)], label=label)
        axes.bar_label(bars, [f"{count:,}" for count in manifest.class_counts(split)], fontsize=6, padding=2)
    axes.set_yticks(rows, [wrap(name, 50) for name in manifest.class_names], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.margins(x=0.08)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(share_title(manifest), fontsize=8)
    axes.legend(
        fontsize=8,
        frameon=False,
        ncols=len(splits),
        columnspacing=1.2,
        handlelength=1,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
    )
    axes.set_title(f"{manifest.dataset}: classes", fontsize=10, loc="left")
    return save_figure(figure, stem)


def plot_samples(stem: Path, manifest: Manifest, split: str, records: Sequence[StoredRecord]) -> tuple[Path, ...]:
    """Writes a figure with one cell per record: the patch in true color, its id, and its labels below."""
    columns = min(_COLUMNS, len(records))
    rows = -(-len(records) // columns)
    captions = [_caption(record, manifest) for record in records]
    lines = [max(caption.count("\n") + 1 for caption in captions[row * columns :][:columns]) for row in range(rows)]
    heights = [2.9 + _LINE_INCHES * count for count in lines]
    figure, axes = plt.subplots(
        rows,
        columns,
        # A single image is not narrower than the title.
        figsize=(max(2.9 * columns, 5), sum(heights) + 0.5),
        layout="constrained",
        squeeze=False,
        height_ratios=heights,
    )
    stretch = common_stretch((record.bands for record in records), find_level(manifest.dataset))
    for cell in axes.ravel():
        cell.set_axis_off()
    for cell, record, caption in zip(axes.ravel(), records, captions):
        cell.set_axis_on()
        cell.imshow(true_color(record.bands, stretch), cmap="gray", interpolation="nearest")
        cell.set_anchor("NW")
        cell.set_xticks([])
        cell.set_yticks([])
        cell.spines[:].set_visible(False)
        cell.set_xlabel(caption, fontsize=7, loc="left", linespacing=1.25)
    counted = f"{len(records)} of {manifest.num_records(split):,} records"
    figure.suptitle(f"{manifest.dataset}, {split}: {counted}\n{describe_stretch(stretch)}", fontsize=9)
    return save_figure(figure, stem, bbox_inches="tight", pad_inches=0.12)


def _caption(record: StoredRecord, manifest: Manifest) -> str:
    names = [manifest.class_names[index] for index in record.label_indices] or ["no label"]
    labels = [textwrap.fill(name, 46, initial_indent="– ", subsequent_indent="   ") for name in names]
    return "\n".join([wrap_id(record.patch_id, 38), *labels])
