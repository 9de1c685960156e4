"""Sample patches as images, and a table of their labels and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from bigearth_tf.data.true_color import common_stretch, true_color

_TOP = 5


def sample_images(bands: Mapping[str, Any], level: Optional[str] = None) -> np.ndarray:
    """Returns images float32 [B, H, W, 3] in 0 ... 1 of bands {name: [B, h, w]}, gray where a color is missing.

    `level` is the processing level of Sentinel-2, as in `common_stretch`.
    """
    pixels = {name: np.asarray(values) for name, values in bands.items()}
    patches = [{name: values[row] for name, values in pixels.items()} for row in range(_num_rows(pixels))]
    stretch = common_stretch(patches, level)
    images = [true_color(patch, stretch) for patch in patches]
    return np.stack([image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1) for image in images])


def describe_samples(batch: Mapping[str, Any], probabilities: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns a Markdown table: each patch, its labels, and its most probable classes of `probabilities` [B, K]."""
    lines = ["| patch | labels | most probable classes |", "|---|---|---|"]
    for patch_id, labels, row in zip(batch["patch_id"].numpy(), batch["labels"].numpy(), probabilities):
        truth = ", ".join(name for name, present in zip(class_names, labels) if present)
        top = ", ".join(f"{class_names[index]} {row[index]:.2f}" for index in np.argsort(-row, kind="stable")[:_TOP])
        lines.append(f"| {patch_id.decode()} | {truth} | {top} |")
    return "\n".join(lines)


def _num_rows(pixels: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(pixels.values())))
