"""The ordinary convolution and the depthwise convolution of the zoo's own families.

Initialization: He et al., https://arxiv.org/abs/1502.01852.
"""

from __future__ import annotations

from typing import Any

import keras


def convolution(features: Any, channels: int, kernel: int, stride: int, name: str, *, use_bias: bool = False) -> Any:
    """Returns an ordinary convolution [B, H / stride, W / stride, channels], sizes rounded up."""
    return keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=use_bias, kernel_initializer="he_normal", name=name
    )(features)


def depthwise_convolution(features: Any, kernel: int, stride: int, name: str, *, use_bias: bool = False) -> Any:
    """Returns a separate convolution of each channel, [B, H / stride, W / stride, C], sizes rounded up."""
    # He's normal initialization: each output is a sum over kernel^2 inputs, a number that Keras counts as the fan out.
    initializer = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")
    return keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=use_bias, depthwise_initializer=initializer, name=name
    )(features)
