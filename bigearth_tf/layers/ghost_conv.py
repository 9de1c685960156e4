"""What is a Ghost convolution? Half of the channels by a convolution, the other half from those by a cheap operation.

Source: Han et al., GhostNet, CVPR 2020, https://arxiv.org/abs/1911.11907, section 3.1, equations 3 and 4, with s = 2
and a 3 x 3 depthwise convolution as the cheap linear operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from bigearth_tf.layers.norm import norm


def convolution(features: Any, channels: int, kernel: int, stride: int, name: str, *, use_bias: bool = False) -> Any:
    """Returns an ordinary convolution [B, H / stride, W / stride, channels]."""
    return keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=use_bias, kernel_initializer="he_normal", name=name
    )(features)


def depthwise_convolution(features: Any, kernel: int, stride: int, name: str, *, use_bias: bool = False) -> Any:
    """Returns a convolution of each channel by itself, [B, H / stride, W / stride, C]."""
    # He's normal for what it is: one output channel reads kernel^2 values, which Keras counts as its fan out.
    initializer = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")
    return keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=use_bias, depthwise_initializer=initializer, name=name
    )(features)


def ghost_convolution(features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Returns what `convolution` does, in shape, for about half of its parameters; `channels` is even."""
    primary = convolution(features, channels // 2, kernel, stride, f"{name}_primary")
    cheap = depthwise_convolution(primary, 3, 1, f"{name}_cheap")
    return keras.layers.Concatenate(name=name)([primary, cheap])


def published_ghost_convolution(features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Returns the published code's form, whose second half is a normalised copy of the first.

    NOTE: its depthwise convolution is computed and thrown away: a variable is read in place of another.
    """
    primary = convolution(features, channels // 2, kernel, stride, f"{name}_primary")
    copy = norm(primary, "published", f"{name}_norm")
    copy = keras.layers.Activation("relu", name=f"{name}_relu")(copy)
    return keras.layers.Concatenate(name=name)([primary, copy])


# What a family's convolutions can be. Each takes features, channels, kernel, stride and a prefix of layer names.
CONVOLUTIONS: dict[str, Callable[[Any, int, int, int, str], Any]] = {
    "none": convolution,
    "depthwise": ghost_convolution,
    "published": published_ghost_convolution,
}
