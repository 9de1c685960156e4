"""What is the K-Branch CNN? A small network for each native resolution, whose descriptors one dense layer mixes.

Source: Sumbul and Demir, https://arxiv.org/abs/1902.11274 and IEEE Access 2020, of whose system it is the first module,
at the sizes of the authors' trained models (K-BranchCNN, version 1.0.1 of 2019, https://bigearth.net). NOTE: their L2
penalty of 2e-5 is left to the optimiser's weight decay, and no bias stands before a batch norm, which takes it out.
The benchmark's code (https://arxiv.org/abs/2111.09451) lists the network but cannot build it: no published form.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.band_stack import band_groups
from bigearth_tf.layers.ghost_conv import convolution
from bigearth_tf.layers.norm import norm
from bigearth_tf.models.checks import check_ranges

# Native size -> the convolutions of its branch: kernel, channels, and whether the map is halved after it.
BRANCHES: dict[int, tuple[tuple[int, int, bool], ...]] = {
    120: ((5, 32, True), (5, 32, True), (3, 64, False)),
    60: ((3, 32, True), (3, 32, False), (3, 64, False)),
    20: ((2, 32, False), (2, 32, False), (2, 32, False)),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """One branch per native size of the bands, whichever these are, each giving `branch_dim` numbers.

    A branch flattens its last map, so that nearly all parameters stand there: at `branch_dim` 128, 30 x 30 x 64 x 128 =
    7.4 million for 120 px and as many for 60 px, 1.6 million for 20 px; they grow with the area of a patch.

    `conv_dropout` is the rate after each convolution, `dense_dropout` after the dense layer of each branch and, once
    more, on the features; `mix_dropout` after the dense layer that mixes the branches.
    """

    branch_dim: int = 128
    feature_dim: int = 128
    conv_dropout: float = 0.25
    dense_dropout: float = 0.5
    mix_dropout: float = 0.25

    def __post_init__(self) -> None:
        """Checks what a caller may have overridden."""
        check_ranges(self, branch_dim=self.branch_dim >= 1, feature_dim=self.feature_dim >= 1)
        rates = ("conv_dropout", "dense_dropout", "mix_dropout")
        check_ranges(self, **{field: 0 <= getattr(self, field) < 1 for field in rates})


VARIANTS: dict[str, Config] = {"k_branch_cnn": Config()}

REFERENCE: dict[str, Config] = {}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, feature_dim] of raw bands."""
    branches = [
        _branch(image, branch_of_size(native_px), config, f"branch_{native_px}px")
        for native_px, image in band_groups(inputs, bands).items()
    ]
    x = keras.layers.Concatenate(name="branches")(branches) if len(branches) > 1 else branches[0]
    x = _dense(x, config.feature_dim, config.mix_dropout, "mix")
    return keras.layers.Dropout(config.dense_dropout, name="features")(x)


def branch_of_size(native_px: int) -> tuple[tuple[int, int, bool], ...]:
    """Returns the row of `BRANCHES` whose size is nearest, by ratio."""
    return BRANCHES[min(BRANCHES, key=lambda size_px: abs(math.log(size_px / native_px)))]


def _branch(x: Any, convolutions: Sequence[tuple[int, int, bool]], config: Config, name: str) -> Any:
    """Returns [B, branch_dim] of the bands of one native size."""
    for number, (kernel, channels, halve) in enumerate(convolutions, start=1):
        x = convolution(x, channels, kernel, 1, f"{name}_conv{number}")
        x = _norm_relu(x, f"{name}_conv{number}")
        if halve:
            x = keras.layers.MaxPooling2D(2, name=f"{name}_pool{number}")(x)
        x = keras.layers.Dropout(config.conv_dropout, name=f"{name}_dropout{number}")(x)
    x = keras.layers.Flatten(name=f"{name}_flat")(x)
    return _dense(x, config.branch_dim, config.dense_dropout, name)


def _dense(x: Any, units: int, rate: float, name: str) -> Any:
    """Returns [B, units]: dense, norm, relu, dropout."""
    x = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=f"{name}_dense")(x)
    return keras.layers.Dropout(rate, name=f"{name}_dense_dropout")(_norm_relu(x, f"{name}_dense"))


def _norm_relu(x: Any, name: str) -> Any:
    return keras.layers.Activation("relu", name=f"{name}_relu")(norm(x, "standard", f"{name}_norm"))
