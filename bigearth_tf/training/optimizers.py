"""Optimizers: creates a Keras optimizer from a config, and hides how the two generations of Keras optimizers differ.

Adam, AdamW and SGD are of the new generation, LAMB is of the legacy one; each may be wrapped to scale the loss. This is
the only importer of tensorflow_addons.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from bigearth_tf.config import OptimizerConfig
from bigearth_tf.training.weight_decay import NOT_A_KERNEL

_NEEDS_ADDONS = (
    "optimizer.name='lamb' needs TensorFlow Addons: `make setup` installs it, as does "
    '`pip install "tensorflow-addons==0.23.0"`.'
)


def _adamw(config: OptimizerConfig, rate: Any) -> Any:
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, jit_compile=False)
    optimizer.exclude_from_weight_decay(var_names=[NOT_A_KERNEL])
    return optimizer


def _lamb(config: OptimizerConfig, rate: Any) -> Any:
    """Returns LAMB (https://arxiv.org/abs/1904.00962); the package scales by layer only the weights that it decays."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The package announces its end of life at each import.
            import tensorflow_addons
    except ImportError as error:
        raise RuntimeError(_NEEDS_ADDONS) from error
    return tensorflow_addons.optimizers.LAMB(
        rate, weight_decay=config.weight_decay, exclude_from_weight_decay=[NOT_A_KERNEL]
    )


# Without jit_compile, which Keras sets on GPUs: config.xla alone decides what is compiled.
_OPTIMIZERS = {
    "adam": lambda config, rate: keras.optimizers.Adam(rate, jit_compile=False),
    "adamw": _adamw,
    "sgd": lambda config, rate: keras.optimizers.SGD(rate, momentum=config.momentum, jit_compile=False),
    "lamb": _lamb,
}
_DECAYING = ("adamw", "lamb")


def check_optimizer(config: OptimizerConfig) -> None:
    """Checks that the optimizer of a config can be created.

    Raises:
        ValueError: The name is unknown, or has no weight decay to set.
        RuntimeError: The package of the optimizer is not installed.
    """
    if config.name not in _OPTIMIZERS:
        raise ValueError(f"optimizer.name={config.name!r}: unknown; allowed: {', '.join(_OPTIMIZERS)}.")
    if config.weight_decay and config.name not in _DECAYING:
        raise ValueError(
            f"optimizer.weight_decay={config.weight_decay}: {config.name} has none; choose {' or '.join(_DECAYING)}, "
            "or loss.l2."
        )
    if config.name == "lamb" and importlib.util.find_spec("tensorflow_addons") is None:
        raise RuntimeError(_NEEDS_ADDONS)


def make_optimizer(config: OptimizerConfig, learning_rate: Any, scale_loss: bool = False) -> Any:
    """Returns a Keras optimizer that follows `learning_rate`. Call `create_slots` next.

    Args:
        config: Name and settings.
        learning_rate: A number, or a schedule: step -> number.
        scale_loss: Whether to wrap it in a `keras.mixed_precision.LossScaleOptimizer`, as mixed_float16 needs.

    Raises:
        ValueError: The name is unknown, or has no weight decay to set.
        RuntimeError: The package of the optimizer is not installed.
    """
    check_optimizer(config)
    optimizer = _OPTIMIZERS[config.name](config, learning_rate)
    return keras.mixed_precision.LossScaleOptimizer(optimizer) if scale_loss else optimizer


def create_slots(optimizer: Any, variables: Sequence[Any]) -> None:
    """Creates the slots of all variables, so that they can be restored, compared and sent to other ranks.

    Call it before a checkpoint is restored: a legacy optimizer would create its slots in the order of the checkpoint,
    and other ranks in another order.
    """
    if isinstance(optimizer, keras.optimizers.legacy.Optimizer):
        # Legacy optimizers have no public method for it except a step.
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)


def list_optimizer_variables(optimizer: Any) -> list[tf.Variable]:
    """Returns all variables of a built optimizer: iterations, slots, and the scale of the loss with its counter."""
    # In the legacy generation it is a method, in the new one a list that can be called.
    variables = list(optimizer.variables())
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        # The wrapper has no public attribute for the variable of the scale.
        variables += [optimizer._loss_scale.current_loss_scale, optimizer.dynamic_counter]
    return variables


def read_learning_rate(optimizer: Any) -> float:
    """Returns the learning rate of the latest step; before any step, that of the first one."""
    rate = optimizer.learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        # The legacy generation returns the schedule, the new one its latest value.
        rate = rate(tf.maximum(optimizer.iterations - 1, 0))
    return float(rate)
