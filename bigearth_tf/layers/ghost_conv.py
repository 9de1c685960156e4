"""What is a Ghost convolution? Half of the channels by a convolution, the other half from those by a cheap operation.

Source: Han et al., GhostNet, CVPR 2020, https://arxiv.org/abs/1911.11907, section 3.1, equations 3 and 4, with s = 2
and a 3 x 3 depthwise convolution as the cheap linear operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from bigearth_tf.layers.norm import norm


def convolution(features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Returns an ordinary convolution [B, H / stride, W / stride, channels] without bias."""
    return keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(features)


def ghost_convolution(features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Returns what `convolution` does, in shape, for about half of its parameters; `channels` is even."""
    primary = convolution(features, channels // 2, kernel, stride, f"{name}_primary")
    cheap = keras.layers.DepthwiseConv2D(
        3, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_cheap"
    )(primary)
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
