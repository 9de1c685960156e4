"""WideResNets with a choice of attention: three stages of pre-activation residual blocks.

Sources: Zagoruyko and Komodakis, https://arxiv.org/abs/1605.07146; the benchmark's light form of depth 10 and width 2
at 60 px with Efficient Channel Attention, and its scaling B0 ... B7, https://arxiv.org/abs/2111.09451.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.attention import ATTENTION, REFERENCE_ATTENTION
from bigearth_tf.layers.band_stack import RESAMPLING, band_stack
from bigearth_tf.layers.batch_norm import NORMS, batch_norm
from bigearth_tf.layers.conv import convolution
from bigearth_tf.layers.ghost import CONVOLUTIONS
from bigearth_tf.models.checks import check_choices, check_ranges
from bigearth_tf.models.scaling import REFERENCE_SCALINGS, Scaling

STEM_CHANNELS = 16
# Channels of a stage at width 1, and the stride of its first block.
STAGES = ((16, 1), (32, 2), (64, 2))


@dataclasses.dataclass(frozen=True)
class Config:
    """A WideResNet with `depth` = 6 N + 4 layers, N blocks in each stage, and `width` times the channels of `STAGES`.

    `resolution_px` is the side of the image to which the bands are resampled. `attention` is a key of `ATTENTION`, on
    the residual branch before the sum; `ghost` is a key of `CONVOLUTIONS`. `dropout` is the rate between the two
    convolutions of a block.

    The reference form differs in the fields below `dropout`, and in the reference forms of attention and ghost:
    `resampling` is one of `RESAMPLING`, `norm` a key of `NORMS`. `dropout_in_first_blocks` False removes the dropout
    from the first block of each stage. `pool_whole_map` False crops the map to a multiple of 8 px before pooling, so
    that at 60 px the last 7 of 15 rows and columns are ignored.
    """

    depth: int = 10
    width: float = 2.0
    resolution_px: int = 60
    attention: str = "none"
    ghost: str = "none"
    dropout: float = 0.1
    resampling: str = "antialiased"
    norm: str = "standard"
    dropout_in_first_blocks: bool = True
    pool_whole_map: bool = True

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, attention=ATTENTION, ghost=CONVOLUTIONS, resampling=RESAMPLING, norm=NORMS)
        check_ranges(self, width=self.width > 0, resolution_px=self.resolution_px >= 8, dropout=0 <= self.dropout < 1)
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth={self.depth}: a WideResNet has 6 N + 4 layers: 10, 16, 22, ...")
        if not self.pool_whole_map and self.resolution_px < 32:
            raise ValueError(f"pool_whole_map=False needs resolution_px >= 32, not {self.resolution_px}.")

    @property
    def blocks_per_stage(self) -> int:
        """N, the number of blocks in each stage."""
        return (self.depth - 4) // 6


def scale_config(config: Config, scaling: Scaling) -> Config:
    """Returns the config with depth 10 and width 2 scaled; the depth is rounded to the nearest 6 N + 4."""
    blocks = max(1, round((10 * scaling.depth - 4) / 6))
    return dataclasses.replace(
        config, depth=6 * blocks + 4, width=2 * scaling.width, resolution_px=scaling.resolution_px
    )


def reference_form(config: Config) -> Config:
    """Returns the config as the benchmark's code builds it, defects included."""
    return dataclasses.replace(
        config,
        attention=REFERENCE_ATTENTION[config.attention],
        ghost="none" if config.ghost == "none" else "published",
        resampling="bicubic",
        norm="published",
        dropout_in_first_blocks=False,
        pool_whole_map=False,
    )


def _reference_scaled(scaling: Scaling) -> Config:
    """Returns the reference form of one of B0 ... B7.

    NOTE: the benchmark's code applies the depth factor twice and rounds down twice.
    """
    blocks = int((10 * scaling.depth - 4) // 6 * scaling.depth)
    config = scale_config(Config(attention="eca"), scaling)
    return reference_form(dataclasses.replace(config, depth=6 * blocks + 4))


_ATTENTION_BY_SUFFIX = {"": "none", "_se": "se", "_cbam": "cbam", "_coordinate": "coordinate"}
_GHOST_BY_SUFFIX = {"": "none", "_ghost": "depthwise"}

VARIANTS: dict[str, Config] = {
    **{
        f"wide_resnet{attention}{ghost}": Config(
            attention=_ATTENTION_BY_SUFFIX[attention], ghost=_GHOST_BY_SUFFIX[ghost]
        )
        for attention in _ATTENTION_BY_SUFFIX
        for ghost in _GHOST_BY_SUFFIX
    },
    "wide_resnet_eca_ghost": Config(attention="eca", ghost="depthwise"),
    **{
        f"wide_resnet_eca_b{index}": scale_config(Config(attention="eca"), scaling)
        for index, scaling in enumerate(REFERENCE_SCALINGS)
    },
}

REFERENCE: dict[str, Config] = {
    # The benchmark has no Ghost convolutions without attention.
    **{name: reference_form(config) for name, config in VARIANTS.items() if name != "wide_resnet_ghost"},
    **{f"wide_resnet_eca_b{index}": _reference_scaled(scaling) for index, scaling in enumerate(REFERENCE_SCALINGS)},
}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, 64 x width] of raw bands."""
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    x = _norm_relu(convolution(x, STEM_CHANNELS, 3, 1, "stem_conv"), config, "stem")
    for stage, (base, stride) in enumerate(STAGES, start=1):
        channels = round_to_4(base * config.width)
        x = _widen(x, channels, stride, config, f"stage{stage}_block1")
        for block in range(2, config.blocks_per_stage + 1):
            name = f"stage{stage}_block{block}"
            branch = _norm_relu(x, config, f"{name}_in")
            branch = _residual_branch(branch, channels, 1, config, name, config.dropout)
            x = keras.layers.Add(name=f"{name}_sum")([branch, x])
        x = _norm_relu(x, config, f"stage{stage}_out")
    if not config.pool_whole_map:
        x = keras.layers.AveragePooling2D(8, name="crop_and_pool")(x)
    return keras.layers.GlobalAveragePooling2D(name="features")(x)


def _widen(x: Any, channels: int, stride: int, config: Config, name: str) -> Any:
    """Returns the first block of a stage, which changes the shape; its shortcut is a 1 x 1 convolution."""
    dropout = config.dropout if config.dropout_in_first_blocks else 0.0
    branch = _residual_branch(x, channels, stride, config, name, dropout)
    shortcut = CONVOLUTIONS[config.ghost](x, channels, 1, stride, f"{name}_shortcut")
    return keras.layers.Add(name=f"{name}_sum")([branch, shortcut])


def _residual_branch(x: Any, channels: int, stride: int, config: Config, name: str, dropout: float) -> Any:
    """Returns convolution, norm, relu, dropout, convolution and attention."""
    conv = CONVOLUTIONS[config.ghost]
    branch = conv(x, channels, 3, stride, f"{name}_conv1")
    branch = _norm_relu(branch, config, f"{name}_mid")
    if dropout:
        branch = keras.layers.Dropout(dropout, name=f"{name}_dropout")(branch)
    branch = conv(branch, channels, 3, 1, f"{name}_conv2")
    return ATTENTION[config.attention](branch, f"{name}_attention")


def _norm_relu(x: Any, config: Config, name: str) -> Any:
    return keras.layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, config.norm, f"{name}_norm"))


def round_to_4(channels: float) -> int:
    """Returns the nearest multiple of 4, at least 4."""
    return max(4, int(channels + 2) // 4 * 4)
