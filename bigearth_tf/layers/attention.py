"""Which attention mechanisms can a family be given? One row each; the published forms beside those of the papers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bigearth_tf.layers.cbam import cbam
from bigearth_tf.layers.coordinate_attention import coordinate_attention
from bigearth_tf.layers.eca import eca
from bigearth_tf.layers.squeeze_excite import squeeze_excite

# Each takes features [B, H, W, C] and a prefix of layer names, and returns features of the same shape.
ATTENTION: dict[str, Callable[[Any, str], Any]] = {
    "none": lambda features, name: features,
    "se": squeeze_excite,
    "cbam": cbam,
    "coordinate": coordinate_attention,
    "eca": eca,
    "se_published": functools.partial(squeeze_excite, activation="swish"),
    # Of the published EfficientNets of June to October 2021.
    "se_half_published": functools.partial(squeeze_excite, activation="swish", reduction=2),
    "coordinate_published": functools.partial(coordinate_attention, squeeze_bias=True, norm_kind="published"),
    "eca_published": functools.partial(eca, use_bias=True),
}

# The form of a mechanism in the published code, where it is another.
REFERENCE_ATTENTION = {name: f"{name}_published" if f"{name}_published" in ATTENTION else name for name in ATTENTION}
