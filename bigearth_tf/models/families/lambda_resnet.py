"""LambdaResNet: a WideResNet with lambda layers in the blocks that keep the shape.

Sources: Bello, LambdaNetworks, https://arxiv.org/abs/2102.08602, for the layer; Zagoruyko and Komodakis,
https://arxiv.org/abs/1605.07146, for the network. The benchmark's code (https://arxiv.org/abs/2111.09451) lists such a
model, of depth 16 and width 2 at 60 px, but cannot build it: there is no reference form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.band_stack import RESAMPLING, band_stack
from bigearth_tf.layers.batch_norm import batch_norm
from bigearth_tf.layers.conv import convolution
from bigearth_tf.layers.lambda_layer import lambda_layer
from bigearth_tf.models.checks import check_choices, check_ranges
from bigearth_tf.models.families.wide_resnet import STAGES, STEM_CHANNELS, round_to_4


@dataclasses.dataclass(frozen=True)
class Config:
    """A WideResNet with `depth` = 6 N + 4 layers: N blocks a stage, all but the first with a lambda layer.

    `dim_k`, `heads` and `context_px` are those of `lambda_layer`. NOTE: the window is 7 px, not the paper's 23, because
    the maps have 60, 30 and 15 px; the memory of the broadcast products does not depend on the window. `dropout` is the
    rate between the two layers of a block.
    """

    depth: int = 16
    width: float = 2.0
    dim_k: int = 16
    heads: int = 4
    context_px: int = 7
    resolution_px: int = 60
    dropout: float = 0.1
    resampling: str = "antialiased"

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, resampling=RESAMPLING)
        check_ranges(
            self,
            width=self.width > 0,
            dim_k=self.dim_k >= 1,
            heads=self.heads >= 1,
            resolution_px=self.resolution_px >= 8,
            dropout=0 <= self.dropout < 1,
        )
        if self.depth < 16 or (self.depth - 4) % 6:
            raise ValueError(f"depth={self.depth}: 6 N + 4 with lambda layers from the second block on: 16, 22, ...")
        if self.context_px < 1 or self.context_px % 2 == 0:
            raise ValueError(f"context_px={self.context_px}: a window around a pixel has an odd side: 1, 3, 5, ...")
        for base, _ in STAGES:
            if round_to_4(base * self.width) % self.heads:
                raise ValueError(f"heads={self.heads} does not divide the {round_to_4(base * self.width)} channels.")


VARIANTS: dict[str, Config] = {"lambda_resnet": Config()}

REFERENCE: dict[str, Config] = {}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, 64 x width] of raw bands."""
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    x = _norm_relu(convolution(x, STEM_CHANNELS, 3, 1, "stem_conv"), "stem")
    for stage, (base, stride) in enumerate(STAGES, start=1):
        channels = round_to_4(base * config.width)
        x = _widen(x, channels, stride, config, f"stage{stage}_block1")
        for block in range(2, (config.depth - 4) // 6 + 1):
            x = _lambda_block(x, channels, config, f"stage{stage}_block{block}")
        x = _norm_relu(x, f"stage{stage}_out")
    return keras.layers.GlobalAveragePooling2D(name="features")(x)


def _widen(x: Any, channels: int, stride: int, config: Config, name: str) -> Any:
    """Returns the first block of a stage, which changes the shape; its shortcut is a 1 x 1 convolution."""
    branch = _convolve(x, channels, stride, config, name)
    branch = convolution(branch, channels, 3, 1, f"{name}_conv2")
    shortcut = convolution(x, channels, 1, stride, f"{name}_shortcut")
    return keras.layers.Add(name=f"{name}_sum")([branch, shortcut])


def _lambda_block(x: Any, channels: int, config: Config, name: str) -> Any:
    """Returns a block of a convolution and a lambda layer, which keeps the shape."""
    branch = _convolve(_norm_relu(x, f"{name}_in"), channels, 1, config, name)
    branch = lambda_layer(
        branch, f"{name}_lambda", dim_k=config.dim_k, heads=config.heads, context_px=config.context_px
    )
    return keras.layers.Add(name=f"{name}_sum")([branch, x])


def _convolve(x: Any, channels: int, stride: int, config: Config, name: str) -> Any:
    """Returns the first half of a branch: convolution, norm, relu and dropout."""
    branch = _norm_relu(convolution(x, channels, 3, stride, f"{name}_conv1"), f"{name}_mid")
    return keras.layers.Dropout(config.dropout, name=f"{name}_dropout")(branch)


def _norm_relu(x: Any, name: str) -> Any:
    return keras.layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, "standard", f"{name}_norm"))
