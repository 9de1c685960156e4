"""Learning-rate schedules: creates a Keras schedule from a config."""

from __future__ import annotations

from typing import Any

import keras

from bigearth_tf.config import ScheduleConfig

SCHEDULES = ("constant", "step", "cosine")
# Factor of the peak, from the global batch and the config. Linear: https://arxiv.org/abs/1706.02677, section 2.1.
# Square root: https://arxiv.org/abs/1404.5997, and https://arxiv.org/abs/1904.00962 for LAMB.
_SCALINGS = {
    "none": lambda batch, config: 1.0,
    "linear": lambda batch, config: batch / config.reference_batch_size,
    "sqrt": lambda batch, config: (batch / config.reference_batch_size) ** 0.5,
    "explicit": lambda batch, config: config.scale,
}


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that rises linearly from 0 to the start of another schedule, then follows that one."""

    def __init__(self, warmup_steps: int, after: Any) -> None:
        """Takes the number of steps of the warm-up and the schedule after it."""
        self.warmup_steps, self.after = warmup_steps, after

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step, a scalar."""
        # A product with the clipped fraction rather than a branch, so that Python numbers and tensors both work.
        passed = keras.backend.cast(step, "float32")
        fraction = keras.backend.minimum((passed + 1.0) / self.warmup_steps, 1.0)
        return fraction * self.after(keras.backend.maximum(passed - self.warmup_steps, 0.0))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"warmup_steps": self.warmup_steps, "after": self.after}


def make_schedule(config: ScheduleConfig, total_steps: int, global_batch_size: int) -> Any:
    """Returns step -> learning rate over a run of `total_steps` optimizer steps of `global_batch_size` records.

    It does not depend on the number of ranks: more ranks with the same global batch take the same steps.

    Raises:
        ValueError: A name is unknown, a scale is set but not used, or the warm-up is not shorter than the run.
    """
    steps = total_steps - config.warmup_steps
    if steps < 1:
        raise ValueError(
            f"schedule.warmup_steps={config.warmup_steps} leaves nothing of a run of {total_steps} steps; lower it, or "
            "train for more epochs."
        )
    peak = peak_rate(config, global_batch_size)
    rates = keras.optimizers.schedules
    if config.name == "constant":
        after = rates.PiecewiseConstantDecay([steps], [peak, peak])
    elif config.name == "step":
        # The rate drops after 80 % and 90 % of the steps; Keras keeps a value up to and including its boundary.
        drops = [-(-tenths * steps // 10) - 1 for tenths in (8, 9)]
        after = rates.PiecewiseConstantDecay(drops, [peak, 0.1 * peak, 0.01 * peak])
    elif config.name == "cosine":
        after = rates.CosineDecay(peak, steps)
    else:
        raise ValueError(f"schedule.name={config.name!r}: unknown; allowed: {', '.join(SCHEDULES)}.")
    return WarmUp(config.warmup_steps, after) if config.warmup_steps else after


def peak_rate(config: ScheduleConfig, global_batch_size: int) -> float:
    """Returns the learning rate after the warm-up, scaled to the global batch.

    Raises:
        ValueError: The name of the scaling is unknown, or a scale is set but not used.
    """
    if config.scaling not in _SCALINGS:
        raise ValueError(f"schedule.scaling={config.scaling!r}: unknown; allowed: {', '.join(_SCALINGS)}.")
    if config.scale != 1.0 and config.scaling != "explicit":
        raise ValueError(f"schedule.scale={config.scale} is read only with schedule.scaling=explicit.")
    return config.peak * _SCALINGS[config.scaling](global_batch_size, config)
