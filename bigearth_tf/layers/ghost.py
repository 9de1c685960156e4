"""Ghost convolutions: half of the channels by a convolution, the other half from the first by a cheap operation.

Source: Han et al., GhostNet, CVPR 2020, https://arxiv.org/abs/1911.11907, section 3.1, equations 3 and 4, with s = 2
and a 3 x 3 depthwise convolution as the cheap linear operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from bigearth_tf.layers.batch_norm import batch_norm
from bigearth_tf.layers.conv import convolution, depthwise_convolution


def ghost_convolution(features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Returns features of the same shape as `convolution` for about half of its parameters; `channels` is even."""
    primary = convolution(features, channels // 2, kernel, stride, f"{name}_primary")
    cheap = depthwise_convolution(primary, 3, 1, f"{name}_cheap")
    return keras.layers.Concatenate(name=name)([primary, cheap])


def reference_ghost_convolution(features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """Returns the reference form, whose second half is a normalized copy of the first.

    NOTE: the benchmark's code computes a depthwise convolution and discards it, because it reads the wrong variable.
    """
    primary = convolution(features, channels // 2, kernel, stride, f"{name}_primary")
    copy = batch_norm(primary, "published", f"{name}_norm")
    copy = keras.layers.Activation("relu", name=f"{name}_relu")(copy)
    return keras.layers.Concatenate(name=name)([primary, copy])


# Values of the field `ghost` of a family -> the convolution. Each takes features, channels, kernel, stride and a prefix
# of layer names. NOTE: configs and runs of users contain the name "published" of the reference form, so it is kept.
CONVOLUTIONS: dict[str, Callable[[Any, int, int, int, str], Any]] = {
    "none": convolution,
    "depthwise": ghost_convolution,
    "published": reference_ghost_convolution,
}
