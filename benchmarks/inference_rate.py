"""Inference rate of a compiled step, without reading records and without compiling."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def images_per_second(
    predict: Callable[[Any], tf.Tensor],
    batch: Mapping[str, tf.Tensor],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Returns the patches/s of a step, without its first call.

    Args:
        predict: A batch -> probabilities [B, K].
        batch: Bands {name: [B, h, w]}, on the device.
        seconds: Duration for which the step is called repeatedly; at least one call is timed.
        clock: Returns the time in seconds.
    """
    probabilities = predict(batch).numpy()  # Compiles, and waits for the result.
    start, calls = clock(), 0
    while not calls or clock() - start < seconds:
        predict(batch).numpy()  # To the host, as scoring does.
        calls += 1
    return calls * len(probabilities) / (clock() - start)
