"""Batch normalization of the zoo's own families.

Source: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167; momentum and epsilon as in PyTorch (momentum 0.1 there is
0.9 here: the share of the old statistics that each step keeps).
"""

from __future__ import annotations

from typing import Any

import keras

# Kinds of batch norm. "published" is the reference form; configs and runs of users contain this name, so it is kept.
# NOTE: the benchmark's code passes PyTorch's 0.1 to Keras, whose statistics are then those of the last one or two
# batches. That code draws the initial scales from -0.05 ... 0.05.
NORMS: dict[str, dict[str, Any]] = {
    "standard": {"momentum": 0.9, "epsilon": 1e-5},
    "published": {"momentum": 0.1, "epsilon": 1e-5, "gamma_initializer": "uniform"},
}


def batch_norm(features: Any, kind: str, name: str) -> Any:
    """Returns features [B, H, W, C] with each channel normalized; `kind` is a key of `NORMS`."""
    return keras.layers.BatchNormalization(name=name, **NORMS[kind])(features)
