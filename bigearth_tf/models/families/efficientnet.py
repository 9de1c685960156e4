"""EfficientNets with a choice of attention: seven stages of inverted bottlenecks.

Sources: Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946, and its blocks in Sandler et al., MobileNetV2,
https://arxiv.org/abs/1801.04381; the benchmark's light form at 60 px, its attentions and Ghost convolutions, and its
scaling B0 ... B7, https://arxiv.org/abs/2111.09451. The names `efficientnet_b0` ... are those of keras.applications.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.attention import ATTENTION, REFERENCE_ATTENTION
from bigearth_tf.layers.band_stack import RESAMPLING, band_stack
from bigearth_tf.layers.batch_norm import NORMS, batch_norm
from bigearth_tf.layers.conv import convolution, depthwise_convolution
from bigearth_tf.layers.ghost import CONVOLUTIONS
from bigearth_tf.models.checks import check_choices, check_ranges
from bigearth_tf.models.scaling import REFERENCE_SCALINGS, Scaling

# EfficientNet-B0, table 1 of the paper.
STEM_CHANNELS = 32
TOP_CHANNELS = 1280
# Kernel, output channels, blocks, stride of the first block, expansion (factor of the channels within a block).
STAGES = ((3, 16, 1, 1, 1), (3, 24, 2, 2, 6), (5, 40, 2, 2, 6), (3, 80, 3, 2, 6), (5, 112, 3, 1, 6),
          (5, 192, 4, 2, 6), (3, 320, 1, 1, 6))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """An EfficientNet with `depth` times the blocks and `width` times the channels of B0.

    `resolution_px` is the side of the image to which the bands are resampled. `attention` is a key of `ATTENTION`,
    between the depthwise and the last convolution of a block. NOTE: "se" is that of its own paper and squeezes to a
    sixteenth of the expanded channels; EfficientNet's squeezes to a quarter of the block's input channels. `ghost` is a
    key of `CONVOLUTIONS` for the 1 x 1 convolutions of the blocks. `dropout` is the rate before the head, that of the
    benchmark. `drop_connect` is the rate at which a block drops its branch for a sample; it grows linearly from 0 at
    the first block towards this value (stochastic depth; section 5.2 of the paper).

    The reference form differs in `drop_connect`, in the fields below it, and in the reference forms of attention and
    ghost. `resampling` is one of `RESAMPLING`, `norm` a key of `NORMS`. `stochastic_depth` False makes `drop_connect`
    an ordinary dropout, the same in all blocks. `conv_bias` gives the convolutions a bias although a norm follows,
    except Ghost convolutions. `always_expand` keeps the expanding convolution also where a block expands by 1.
    `swish_after_attention` moves the swish of the depthwise convolution after the attention, and replaces it by a
    relu6.
    """

    depth: float = 1.0
    width: float = 1.0
    resolution_px: int = 60
    attention: str = "none"
    ghost: str = "none"
    dropout: float = 0.1
    drop_connect: float = 0.2
    resampling: str = "antialiased"
    norm: str = "standard"
    stochastic_depth: bool = True
    conv_bias: bool = False
    always_expand: bool = False
    swish_after_attention: bool = False

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, attention=ATTENTION, ghost=CONVOLUTIONS, resampling=RESAMPLING, norm=NORMS)
        check_ranges(
            self,
            depth=self.depth > 0,
            width=self.width > 0,
            resolution_px=self.resolution_px >= 8,
            dropout=0 <= self.dropout < 1,
            drop_connect=0 <= self.drop_connect < 1,
        )


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted bottleneck: its output `channels`, and the `expansion` from its input to its inner channels."""

    name: str
    kernel: int
    channels: int
    expansion: int
    stride: int


def scale_config(config: Config, scaling: Scaling) -> Config:
    """Returns the config with the depth, width and resolution of a scaling."""
    return dataclasses.replace(config, depth=scaling.depth, width=scaling.width, resolution_px=scaling.resolution_px)


def reference_form(config: Config) -> Config:
    """Returns the config as the benchmark's code builds it, defects included."""
    return dataclasses.replace(
        config,
        attention=REFERENCE_ATTENTION[config.attention],
        ghost="none" if config.ghost == "none" else "published",
        drop_connect=config.dropout,
        resampling="bicubic",
        norm="published",
        stochastic_depth=False,
        conv_bias=True,
        always_expand=True,
        swish_after_attention=True,
    )


VARIANTS: dict[str, Config] = {
    **{f"efficientnet_{attention}": Config(attention=attention) for attention in ("se", "cbam", "coordinate")},
    **{
        f"efficientnet_{attention}_ghost": Config(attention=attention, ghost="depthwise")
        for attention in ("se", "cbam", "coordinate", "eca")
    },
    **{
        f"efficientnet_eca_b{index}": scale_config(Config(attention="eca"), scaling)
        for index, scaling in enumerate(REFERENCE_SCALINGS)
    },
}

REFERENCE: dict[str, Config] = {name: reference_form(config) for name, config in VARIANTS.items()}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, 1280 x width] of raw bands."""
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    stem = round_to_8(STEM_CHANNELS * config.width)
    x = convolution(x, stem, 3, 2, "stem_conv", use_bias=config.conv_bias)
    x = _norm_swish(x, config, "stem")
    rows = list_blocks(config)
    for index, block in enumerate(rows):
        # From 0 at the first block, as in the authors' code, so that the share of the last block is (n - 1) / n.
        share = index / len(rows) if config.stochastic_depth else 1.0
        x = _bottleneck(x, block, config, config.drop_connect * share)
    top = round_to_8(TOP_CHANNELS * config.width)
    x = convolution(x, top, 1, 1, "top_conv", use_bias=config.conv_bias)
    x = _norm_swish(x, config, "top")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dropout(config.dropout, name="features")(x)


def list_blocks(config: Config) -> list[Block]:
    """Returns the blocks of a config from the first to the last."""
    return [
        Block(f"stage{stage}_block{index + 1}", kernel, round_to_8(channels * config.width), expansion,
              stride=1 if index else stride)
        for stage, (kernel, channels, repeats, stride, expansion) in enumerate(STAGES, start=1)
        for index in range(math.ceil(config.depth * repeats))
    ]  # fmt: skip


def _bottleneck(x: Any, block: Block, config: Config, drop_rate: float) -> Any:
    """Returns expansion, depthwise convolution, attention and projection; plus the input if the shape is the same."""
    name = block.name
    num_channels = x.shape[-1]
    branch = x
    if block.expansion > 1 or config.always_expand:
        branch = _pointwise(branch, num_channels * block.expansion, config, f"{name}_expand")
        branch = _norm_swish(branch, config, f"{name}_expand")
    branch = depthwise_convolution(branch, block.kernel, block.stride, f"{name}_depthwise", use_bias=config.conv_bias)
    branch = _norm_attend_swish(branch, config, name)
    branch = _pointwise(branch, block.channels, config, f"{name}_project")
    branch = batch_norm(branch, config.norm, f"{name}_project_norm")
    if block.stride > 1 or num_channels != block.channels:
        return branch
    if drop_rate:
        # One random draw for each sample, or one for each value.
        noise_shape = (None, 1, 1, 1) if config.stochastic_depth else None
        branch = keras.layers.Dropout(drop_rate, noise_shape=noise_shape, name=f"{name}_drop")(branch)
    return keras.layers.Add(name=f"{name}_sum")([branch, x])


def _norm_attend_swish(x: Any, config: Config, name: str) -> Any:
    """Returns norm, swish and attention; in the reference form norm, relu6, attention and swish."""
    attend = ATTENTION[config.attention]
    if not config.swish_after_attention:
        return attend(_norm_swish(x, config, f"{name}_depthwise"), f"{name}_attention")
    x = batch_norm(x, config.norm, f"{name}_depthwise_norm")
    x = keras.layers.ReLU(max_value=6.0, name=f"{name}_depthwise_relu6")(x)
    return keras.layers.Activation("swish", name=f"{name}_depthwise_swish")(attend(x, f"{name}_attention"))


def _pointwise(x: Any, channels: int, config: Config, name: str) -> Any:
    """Returns a 1 x 1 convolution, ordinary or Ghost."""
    if config.ghost == "none":
        return convolution(x, channels, 1, 1, f"{name}_conv", use_bias=config.conv_bias)
    return CONVOLUTIONS[config.ghost](x, channels, 1, 1, f"{name}_conv")


def _norm_swish(x: Any, config: Config, name: str) -> Any:
    return keras.layers.Activation("swish", name=f"{name}_swish")(batch_norm(x, config.norm, f"{name}_norm"))


def round_to_8(channels: float) -> int:
    """Returns the nearest multiple of 8, at least 8; the next one if the nearest is more than a tenth too small."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
