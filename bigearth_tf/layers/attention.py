"""Table of the attention mechanisms that a family can use, in the forms of their papers and in the reference forms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bigearth_tf.layers.cbam import cbam
from bigearth_tf.layers.coordinate_attention import coordinate_attention
from bigearth_tf.layers.eca import eca
from bigearth_tf.layers.squeeze_excite import squeeze_excite

# Values of the field `attention` of a family -> the mechanism. Each takes features [B, H, W, C] and a prefix of layer
# names, and returns features of the same shape. NOTE: the reference form of a mechanism is called "<name>_published";
# configs and runs of users contain this name, so it is kept.
ATTENTION: dict[str, Callable[[Any, str], Any]] = {
    "none": lambda features, name: features,
    "se": squeeze_excite,
    "cbam": cbam,
    "coordinate": coordinate_attention,
    "eca": eca,
    "se_published": functools.partial(squeeze_excite, activation="swish"),
    # The benchmark's EfficientNets of June to October 2021.
    "se_half_published": functools.partial(squeeze_excite, activation="swish", reduction=2),
    "coordinate_published": functools.partial(coordinate_attention, squeeze_bias=True, norm_kind="published"),
    "eca_published": functools.partial(eca, use_bias=True),
}

# Mechanism -> its reference form; itself if the benchmark's code has the form of the paper.
REFERENCE_ATTENTION = {name: f"{name}_published" if f"{name}_published" in ATTENTION else name for name in ATTENTION}
