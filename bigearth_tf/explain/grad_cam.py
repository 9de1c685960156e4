"""Grad-CAM: the last maps of a CNN, weighted by the mean gradients of a logit.

Source: Selvaraju et al., https://arxiv.org/abs/1610.02391, equations 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from bigearth_tf.explain.differentiable import DifferentiableModel


def grad_cam(model: DifferentiableModel, bands: Mapping[str, np.ndarray], class_index: int) -> np.ndarray:
    """Returns float32 [S, S], 0 or more, S the side of the finest band.

    The map of the network is much coarser and is interpolated bilinearly. Where the features are the mean of the map,
    and the logit a weighted sum of the features, the map before the relu adds up to the logit without its bias.
    NOTE: the maps of several branches are added, each per area, before the relu; the paper has one map.

    Args:
        model: A model with `map_sizes`.
        bands: Band name -> [size_px, size_px].
        class_index: The class.
    """
    size_px = max(len(pixels) for pixels in bands.values())
    total = np.zeros((size_px, size_px), np.float32)
    for activation, gradient in model.map_gradients(bands, class_index):
        weighted = activation @ gradient.mean((0, 1))
        resized = tf.image.resize(weighted[..., np.newaxis], (size_px, size_px)).numpy()[..., 0]
        total += resized * (weighted.size / resized.size)
    return np.maximum(total, 0)
