"""Efficient Channel Attention (ECA): a gate per channel, by a short convolution across the channel means.

Source: Wang et al., ECA-Net, CVPR 2020, https://arxiv.org/abs/1910.03151, section 3.2 and equation 12.
"""

from __future__ import annotations

import math
from typing import Any

import keras


def eca_kernel_size(num_channels: int, gamma: float = 2.0, offset: float = 1.0) -> int:
    """Returns k = |log2(C) / gamma + offset / gamma|, made odd: truncated, then increased by one if even."""
    size = int(abs((math.log2(num_channels) + offset) / gamma))
    return size if size % 2 else size + 1


def eca(features: Any, name: str, *, use_bias: bool = False) -> Any:
    """Returns features [B, H, W, C] with each channel scaled by its gate in 0 ... 1.

    Args:
        features: [B, H, W, C].
        name: Prefix of the layers' names.
        use_bias: Adds one bias for all channels; the paper has none, the reference form has one.
    """
    num_channels = features.shape[-1]
    gate = keras.layers.GlobalAveragePooling2D(name=f"{name}_mean")(features)
    gate = keras.layers.Reshape((num_channels, 1), name=f"{name}_sequence")(gate)
    gate = keras.layers.Conv1D(
        1, eca_kernel_size(num_channels), padding="same", use_bias=use_bias, activation="sigmoid", name=f"{name}_conv"
    )(gate)
    gate = keras.layers.Reshape((1, 1, num_channels), name=f"{name}_gate")(gate)
    return keras.layers.Multiply(name=name)([features, gate])
