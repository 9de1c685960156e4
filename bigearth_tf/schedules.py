"""How does the learning rate move over a run? A Keras schedule from a config."""

from __future__ import annotations

from typing import Any

import keras

from bigearth_tf.config import ScheduleConfig

SCHEDULES = ("constant", "step", "cosine")


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to the start of another schedule, then follows it."""

    def __init__(self, warmup_steps: int, after: Any) -> None:
        """Takes the number of steps and the schedule that follows."""
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


def make_schedule(config: ScheduleConfig, total_steps: int) -> Any:
    """Returns step -> learning rate over a run of `total_steps` optimiser steps.

    Raises:
        ValueError: The name is unknown, or the warm-up is longer than the run.
    """
    steps = total_steps - config.warmup_steps
    if steps < 1:
        raise ValueError(f"schedule.warmup_steps={config.warmup_steps} leaves nothing of a run of {total_steps} steps.")
    rates = keras.optimizers.schedules
    if config.name == "constant":
        after = rates.PiecewiseConstantDecay([steps], [config.peak, config.peak])
    elif config.name == "step":
        drops = [int(0.8 * steps), int(0.9 * steps)]
        after = rates.PiecewiseConstantDecay(drops, [config.peak, 0.1 * config.peak, 0.01 * config.peak])
    elif config.name == "cosine":
        after = rates.CosineDecay(config.peak, steps)
    else:
        raise ValueError(f"schedule.name={config.name!r}: unknown; allowed: {', '.join(SCHEDULES)}.")
    return WarmUp(config.warmup_steps, after) if config.warmup_steps else after
