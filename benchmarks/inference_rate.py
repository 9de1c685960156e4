"""How many patches a second does a step label? The network's own time, without records and without compiling."""

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
    """Returns how many patches a second a step labels, its first call left out.

    Args:
        predict: A batch -> probabilities [B, K].
        batch: Bands {name: [B, h, w]}, on the device.
        seconds: For which it is called again and again; once at least.
        clock: Seconds.
    """
    probabilities = predict(batch).numpy()  # Builds and compiles, and waits until that is done.
    start, calls = clock(), 0
    while not calls or clock() - start < seconds:
        predict(batch).numpy()  # As scoring does, which needs them on the host.
        calls += 1
    return calls * len(probabilities) / (clock() - start)
