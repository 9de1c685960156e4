"""What is a WideResNet of the zoo? Three stages of pre-activation residual blocks, with attention on their branches.

Sources: Zagoruyko and Komodakis, https://arxiv.org/abs/1605.07146; the benchmark's light form of depth 10 and width 2
at 60 px with Efficient Channel Attention, https://arxiv.org/abs/2111.09451.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from bigearth_tf.bands import Band
from bigearth_tf.layers.band_stack import band_inputs, band_stack
from bigearth_tf.layers.eca import eca

_STAGE_WIDTHS = (16, 32, 64)
_STRIDES = (1, 2, 2)

ATTENTION: dict[str, Callable[[Any, str], Any]] = {
    "none": lambda features, name: features,
    "eca": eca,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """A WideResNet of `depth` = 6 N + 4 layers, N blocks a stage, `width` times the channels of a thin one.

    `resolution_px` is the side of the image that the bands are resampled to. `dropout` is the rate within blocks that
    keep their shape. `attention` is a key of `ATTENTION`, on the residual branch before the sum.
    """

    depth: int = 10
    width: float = 2.0
    resolution_px: int = 60
    attention: str = "none"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Checks what a caller may have overridden."""
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth={self.depth}: a WideResNet has 6 N + 4 layers: 10, 16, 22, ...")
        if self.attention not in ATTENTION:
            raise ValueError(f"attention={self.attention!r}: unknown; allowed: {', '.join(ATTENTION)}.")
        if self.width <= 0 or self.resolution_px < 8 or not 0 <= self.dropout < 1:
            raise ValueError(f"width > 0, resolution_px >= 8 and 0 <= dropout < 1 are needed, not {self}.")


VARIANTS: dict[str, Config] = {
    "wide_resnet": Config(),
    "wide_resnet_eca_b0": Config(attention="eca"),
}


def build(config: Config, *, name: str, bands: Sequence[Band], num_classes: int) -> keras.Model:
    """Returns the model of a config: raw bands -> logits float32 [B, num_classes].

    NOTE: two deviations from the published code. Batch norm keeps nine tenths of its statistics at each step (Keras
    momentum 0.9, PyTorch 0.1), where that code passes PyTorch's 0.1 to Keras and so keeps one tenth. The whole last
    map is pooled, where that code first crops it to a multiple of 8 px.
    """
    inputs = band_inputs(bands)
    x = band_stack(inputs, bands, config.resolution_px)
    x = _conv(x, 16, 3, 1, "stem_conv")
    x = _norm_relu(x, "stem")
    for stage, (base, stride) in enumerate(zip(_STAGE_WIDTHS, _STRIDES), start=1):
        channels = _round_to_4(base * config.width)
        x = _widen(x, channels, stride, config, f"stage{stage}_block1")
        for block in range(2, (config.depth - 4) // 6 + 1):
            x = _norm_relu(x, f"stage{stage}_block{block}_in")
            x = _keep(x, channels, config, f"stage{stage}_block{block}")
        x = _norm_relu(x, f"stage{stage}_out")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def _widen(x: Any, channels: int, stride: int, config: Config, name: str) -> Any:
    """Returns a block that changes the shape; its shortcut is a 1 x 1 convolution."""
    branch = _conv(x, channels, 3, stride, f"{name}_conv1")
    branch = _norm_relu(branch, f"{name}_mid")
    branch = _conv(branch, channels, 3, 1, f"{name}_conv2")
    branch = ATTENTION[config.attention](branch, f"{name}_attention")
    return keras.layers.Add(name=f"{name}_sum")([branch, _conv(x, channels, 1, stride, f"{name}_shortcut")])


def _keep(x: Any, channels: int, config: Config, name: str) -> Any:
    """Returns a block that keeps the shape."""
    branch = _conv(x, channels, 3, 1, f"{name}_conv1")
    branch = _norm_relu(branch, f"{name}_mid")
    branch = keras.layers.Dropout(config.dropout, name=f"{name}_dropout")(branch)
    branch = _conv(branch, channels, 3, 1, f"{name}_conv2")
    branch = ATTENTION[config.attention](branch, f"{name}_attention")
    return keras.layers.Add(name=f"{name}_sum")([branch, x])


def _conv(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    return keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def _norm_relu(x: Any, name: str) -> Any:
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _round_to_4(channels: float) -> int:
    """Returns the nearest multiple of 4, at least 4."""
    return max(4, int(channels + 2) // 4 * 4)
