"""Convolutional Block Attention Module (CBAM): a gate per channel, then a gate per pixel.

Source: Woo et al., ECCV 2018, https://arxiv.org/abs/1807.06521, section 3, equations 2 and 3; reduction ratio 16 and
kernel 7 as in section 4.1.
"""

from __future__ import annotations

from typing import Any

import keras

REDUCTION = 16
KERNEL = 7


def cbam(features: Any, name: str) -> Any:
    """Returns features [B, H, W, C] scaled by channel gates, then by pixel gates, each in 0 ... 1."""
    features = _channel_attention(features, f"{name}_channel")
    return _spatial_attention(features, name)


def _channel_attention(features: Any, name: str) -> Any:
    """Returns features scaled by sigmoid(MLP(mean over pixels) + MLP(maximum over pixels)), one MLP for both."""
    num_channels = features.shape[-1]
    squeeze = keras.layers.Dense(
        max(1, num_channels // REDUCTION), activation="relu", kernel_initializer="he_normal", name=f"{name}_squeeze"
    )
    excite = keras.layers.Dense(num_channels, kernel_initializer="he_normal", name=f"{name}_excite")
    mean = keras.layers.GlobalAveragePooling2D(name=f"{name}_mean")(features)
    largest = keras.layers.GlobalMaxPooling2D(name=f"{name}_max")(features)
    gate = keras.layers.Add(name=f"{name}_sum")([excite(squeeze(mean)), excite(squeeze(largest))])
    gate = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)
    gate = keras.layers.Reshape((1, 1, num_channels), name=f"{name}_gate")(gate)
    return keras.layers.Multiply(name=name)([features, gate])


def _spatial_attention(features: Any, name: str) -> Any:
    """Returns features scaled by sigmoid(7 x 7 convolution of [mean over channels, maximum over channels])."""
    height, width, num_channels = features.shape[1:]
    # Pooling layers reduce pixels, not channels, so move the channels to the axis of the pixels.
    sequence = keras.layers.Reshape((height * width, num_channels), name=f"{name}_pixels")(features)
    sequence = keras.layers.Permute((2, 1), name=f"{name}_channels_first")(sequence)
    maps = [
        keras.layers.Reshape((height, width, 1), name=f"{name}_{kind}_map")(pool(name=f"{name}_{kind}")(sequence))
        for kind, pool in (("mean", keras.layers.GlobalAveragePooling1D), ("max", keras.layers.GlobalMaxPooling1D))
    ]
    gate = keras.layers.Conv2D(
        1,
        KERNEL,
        padding="same",
        use_bias=False,
        activation="sigmoid",
        kernel_initializer="he_normal",
        name=f"{name}_spatial_conv",
    )(keras.layers.Concatenate(name=f"{name}_maps")(maps))
    return keras.layers.Multiply(name=name)([features, gate])
