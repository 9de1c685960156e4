"""Which optimisers are there? A Keras optimiser from a config."""

from __future__ import annotations

from typing import Any

import keras

from bigearth_tf.config import OptimizerConfig

_OPTIMIZERS = {
    "adam": lambda rate, _: keras.optimizers.Adam(rate),
    "adamw": lambda rate, config: keras.optimizers.AdamW(rate, weight_decay=config.weight_decay),
    "sgd": lambda rate, config: keras.optimizers.SGD(rate, momentum=config.momentum),
}


def make_optimizer(config: OptimizerConfig, learning_rate: Any) -> Any:
    """Returns a Keras optimiser that follows `learning_rate`, a number or a schedule.

    Raises:
        ValueError: The name is unknown.
    """
    if config.name not in _OPTIMIZERS:
        raise ValueError(f"optimizer.name={config.name!r}: unknown; allowed: {', '.join(_OPTIMIZERS)}.")
    return _OPTIMIZERS[config.name](learning_rate, config)
