"""Integrated gradients: the gradient of a logit, collected on the straight way from the bands' means to a patch.

Source: Sundararajan et al., https://arxiv.org/abs/1703.01365, equations 1 and 3; with the midpoints of the steps. Their
sum is the difference between the two logits (completeness, proposition 1), but for the error of the steps.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bigearth_tf.explain.differentiable import DifferentiableModel, Path


def integrated_gradients(
    model: DifferentiableModel, path: Path, class_index: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Returns band name -> float64 [size_px, size_px] at the band's native size.

    Args:
        model: The model.
        path: The way from the means of the bands to a patch, with its `midpoints`.
        class_index: The class.
        batch_size: Number of points on the way that are computed at a time.
    """
    sums = {name: np.zeros(pixels.shape) for name, pixels in path.bands.items()}
    for first in range(0, len(path.places), batch_size):
        part = dataclasses.replace(path, places=path.places[first : first + batch_size])
        for name, gradient in model.path_gradients(part, class_index).items():
            sums[name] += gradient
    return {name: sums[name] / len(path.places) * (pixels - path.start[name]) for name, pixels in path.bands.items()}


def midpoints(steps: int) -> np.ndarray:
    """Returns the middle of each of `steps` equal parts of 0 ... 1."""
    return (np.arange(steps) + 0.5) / steps
