"""Squeeze-and-Excitation: a gate per channel, by two dense layers on the channel means.

Source: Hu et al., CVPR 2018, https://arxiv.org/abs/1709.01507, section 3; reduction ratio 16 as in section 6.1.
"""

from __future__ import annotations

from typing import Any

import keras

REDUCTION = 16


def squeeze_excite(features: Any, name: str, *, activation: str = "relu", reduction: int = REDUCTION) -> Any:
    """Returns features [B, H, W, C] with each channel scaled by its gate in 0 ... 1.

    Args:
        features: [B, H, W, C].
        name: Prefix of the layers' names.
        activation: Activation between the two layers; relu in the paper, swish in the reference form.
        reduction: The factor by which the first layer reduces the channels.
    """
    num_channels = features.shape[-1]
    gate = keras.layers.GlobalAveragePooling2D(name=f"{name}_mean")(features)
    gate = keras.layers.Dense(
        max(1, num_channels // reduction),
        activation=activation,
        kernel_initializer="he_normal",
        name=f"{name}_squeeze",
    )(gate)
    gate = keras.layers.Dense(
        num_channels, activation="sigmoid", kernel_initializer="he_normal", name=f"{name}_excite"
    )(gate)
    gate = keras.layers.Reshape((1, 1, num_channels), name=f"{name}_gate")(gate)
    return keras.layers.Multiply(name=name)([features, gate])
