"""K-Branch CNN: one small network for each native resolution, and a dense layer that combines their outputs.

Source: Sumbul and Demir, https://arxiv.org/abs/1902.11274 and IEEE Access 2020: the first module of their system, with
the sizes of the authors' trained models (K-BranchCNN, version 1.0.1 of 2019, https://bigearth.net). NOTE: their L2
penalty of 2e-5 is left to the optimizer's weight decay, and layers before a batch norm, which cancels any bias, have no
bias. The benchmark's code (https://arxiv.org/abs/2111.09451) lists the network but cannot build it: there is no
reference form.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.band_stack import band_groups
from bigearth_tf.layers.batch_norm import batch_norm
from bigearth_tf.layers.conv import convolution
from bigearth_tf.models.checks import check_ranges

# Native size -> the convolutions of its branch: kernel, channels, and whether a pooling layer then halves the map.
BRANCHES: dict[int, tuple[tuple[int, int, bool], ...]] = {
    120: ((5, 32, True), (5, 32, True), (3, 64, False)),
    60: ((3, 32, True), (3, 32, False), (3, 64, False)),
    20: ((2, 32, False), (2, 32, False), (2, 32, False)),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """One branch for each native size of the given bands; each branch returns `branch_dim` numbers.

    A branch flattens its last map, so nearly all parameters are in the dense layer after it: at `branch_dim` 128,
    30 x 30 x 64 x 128 = 7.4 million for 120 px and the same for 60 px, 1.6 million for 20 px. They grow with the area
    of a patch.

    `conv_dropout` is the rate after each convolution; `dense_dropout` the rate after the dense layer of each branch,
    and on the features; `mix_dropout` the rate after the dense layer that combines the branches.
    """

    branch_dim: int = 128
    feature_dim: int = 128
    conv_dropout: float = 0.25
    dense_dropout: float = 0.5
    mix_dropout: float = 0.25

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_ranges(self, branch_dim=self.branch_dim >= 1, feature_dim=self.feature_dim >= 1)
        rates = ("conv_dropout", "dense_dropout", "mix_dropout")
        check_ranges(self, **{field: 0 <= getattr(self, field) < 1 for field in rates})


VARIANTS: dict[str, Config] = {"k_branch_cnn": Config()}

REFERENCE: dict[str, Config] = {}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, feature_dim] of raw bands."""
    branches = [
        _branch(image, choose_branch(native_px), config, f"branch_{native_px}px")
        for native_px, image in band_groups(inputs, bands).items()
    ]
    x = keras.layers.Concatenate(name="branches")(branches) if len(branches) > 1 else branches[0]
    x = _dense(x, config.feature_dim, config.mix_dropout, "mix")
    return keras.layers.Dropout(config.dense_dropout, name="features")(x)


def choose_branch(native_px: int) -> tuple[tuple[int, int, bool], ...]:
    """Returns the row of `BRANCHES` whose size has the ratio to `native_px` nearest to 1."""
    return BRANCHES[min(BRANCHES, key=lambda size_px: abs(math.log(size_px / native_px)))]


def _branch(x: Any, convolutions: Sequence[tuple[int, int, bool]], config: Config, name: str) -> Any:
    """Returns [B, branch_dim] for the bands of one native size."""
    for number, (kernel, channels, halve) in enumerate(convolutions, start=1):
        x = convolution(x, channels, kernel, 1, f"{name}_conv{number}")
        x = _norm_relu(x, f"{name}_conv{number}")
        if halve:
            x = keras.layers.MaxPooling2D(2, name=f"{name}_pool{number}")(x)
        x = keras.layers.Dropout(config.conv_dropout, name=f"{name}_dropout{number}")(x)
    x = keras.layers.Flatten(name=f"{name}_flat")(x)
    return _dense(x, config.branch_dim, config.dense_dropout, name)


def _dense(x: Any, units: int, rate: float, name: str) -> Any:
    """Returns [B, units]: a dense layer, norm, relu and dropout."""
    x = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=f"{name}_dense")(x)
    return keras.layers.Dropout(rate, name=f"{name}_dense_dropout")(_norm_relu(x, f"{name}_dense"))


def _norm_relu(x: Any, name: str) -> Any:
    return keras.layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, "standard", f"{name}_norm"))
