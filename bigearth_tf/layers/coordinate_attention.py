"""Coordinate Attention: a gate per channel and row, and a gate per channel and column.

Source: Hou et al., CVPR 2021, https://arxiv.org/abs/2103.02907, section 3.2, equations 4 to 9; reduction 32 with at
least 8 channels as in section 4.1 and the authors' code.
"""

from __future__ import annotations

from typing import Any

import keras

from bigearth_tf.layers.batch_norm import batch_norm

REDUCTION = 32
MIN_CHANNELS = 8


def coordinate_attention(features: Any, name: str, *, squeeze_bias: bool = False, norm_kind: str = "standard") -> Any:
    """Returns features [B, H, W, C] scaled by row gates and column gates, each in 0 ... 1.

    Args:
        features: [B, H, W, C].
        name: Prefix of the layers' names.
        squeeze_bias: Adds a bias before the batch norm, which cancels the bias; the reference form has one.
        norm_kind: Batch norm between the two convolutions: a key of `NORMS`.
    """
    height, width, num_channels = features.shape[1:]
    rows = keras.layers.AveragePooling2D((1, width), name=f"{name}_row_means")(features)
    columns = keras.layers.AveragePooling2D((height, 1), name=f"{name}_column_means")(features)
    columns = keras.layers.Permute((2, 1, 3), name=f"{name}_columns_down")(columns)
    both = keras.layers.Concatenate(axis=1, name=f"{name}_both")([rows, columns])
    squeezed = max(MIN_CHANNELS, num_channels // REDUCTION)
    both = keras.layers.Conv2D(squeezed, 1, use_bias=squeeze_bias, name=f"{name}_squeeze")(both)
    both = _hard_swish(batch_norm(both, norm_kind, f"{name}_norm"), name)
    rows = keras.layers.Cropping2D(((0, width), (0, 0)), name=f"{name}_rows")(both)
    columns = keras.layers.Cropping2D(((height, 0), (0, 0)), name=f"{name}_columns")(both)
    columns = keras.layers.Permute((2, 1, 3), name=f"{name}_columns_across")(columns)
    row_gate = keras.layers.Conv2D(num_channels, 1, activation="sigmoid", name=f"{name}_row_gate")(rows)
    column_gate = keras.layers.Conv2D(num_channels, 1, activation="sigmoid", name=f"{name}_column_gate")(columns)
    return keras.layers.Multiply(name=name)([features, row_gate, column_gate])


def _hard_swish(x: Any, name: str) -> Any:
    """Returns x relu6(x + 3) / 6, by layers that behave the same in Keras 2 and 3."""
    gate = keras.layers.Rescaling(1.0, 3.0, name=f"{name}_shift")(x)
    gate = keras.layers.ReLU(max_value=6.0, name=f"{name}_relu6")(gate)
    gate = keras.layers.Rescaling(1.0 / 6.0, name=f"{name}_sixth")(gate)
    return keras.layers.Multiply(name=f"{name}_hard_swish")([x, gate])
