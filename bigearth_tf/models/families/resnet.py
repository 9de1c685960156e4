"""ResNet-18 and ResNet-34: ResNets whose blocks have two 3 x 3 convolutions.

Source: He et al., CVPR 2016, https://arxiv.org/abs/1512.03385, figure 3 and table 1, with the shortcuts of option B.
The benchmark's code (https://arxiv.org/abs/2111.09451) lists a ResNet-18 but cannot build it: there is no
reference form.
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
from bigearth_tf.models.checks import check_choices, check_ranges

STEM_CHANNELS = 64
# Channels of a stage, and the stride of its first block.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


@dataclasses.dataclass(frozen=True)
class Config:
    """A ResNet with `blocks[i]` basic blocks in stage i + 1.

    `resolution_px` is the side of the image to which the bands are resampled; `resampling` is one of `RESAMPLING`.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    resolution_px: int = 120
    resampling: str = "antialiased"

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, resampling=RESAMPLING)
        check_ranges(self, resolution_px=self.resolution_px >= 32)
        if len(self.blocks) != len(STAGES) or min(self.blocks) < 1:
            raise ValueError(f"blocks={self.blocks}: {len(STAGES)} stages of at least one block each are needed.")


# Table 1: layers = 2 x blocks + 2.
VARIANTS: dict[str, Config] = {"resnet18": Config(), "resnet34": Config(blocks=(3, 4, 6, 3))}

REFERENCE: dict[str, Config] = {}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, 512] of raw bands."""
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    x = _conv_norm(x, STEM_CHANNELS, 7, 2, "stem")
    x = keras.layers.Activation("relu", name="stem_relu")(x)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, ((channels, stride), blocks) in enumerate(zip(STAGES, config.blocks), start=1):
        for block in range(1, blocks + 1):
            x = _basic_block(x, channels, stride if block == 1 else 1, f"stage{stage}_block{block}")
    return keras.layers.GlobalAveragePooling2D(name="features")(x)


def _basic_block(x: Any, channels: int, stride: int, name: str) -> Any:
    """Returns relu(branch + shortcut); if the shape changes, the shortcut is a 1 x 1 convolution with a norm."""
    branch = _conv_norm(x, channels, 3, stride, f"{name}_1")
    branch = keras.layers.Activation("relu", name=f"{name}_1_relu")(branch)
    branch = _conv_norm(branch, channels, 3, 1, f"{name}_2")
    shortcut = x if x.shape[-1] == channels else _conv_norm(x, channels, 1, stride, f"{name}_shortcut")
    x = keras.layers.Add(name=f"{name}_sum")([branch, shortcut])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _conv_norm(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    return batch_norm(convolution(x, channels, kernel, stride, f"{name}_conv"), "standard", f"{name}_norm")
