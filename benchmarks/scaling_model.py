"""Time that n ranks need to reduce their gradients, and the efficiency that follows, by the alpha-beta model.

In the alpha-beta model, a message of b bytes takes latency + b / bandwidth. It follows that:

- A ring (https://doi.org/10.1016/j.jpdc.2008.09.002) forwards an n-th of the gradients 2 (n - 1) times, which takes
  2 (n - 1) / n x bytes / bandwidth + 2 (n - 1) x latency. Gloo uses a ring.
- Two binary trees (https://doi.org/10.1016/j.parco.2009.09.001) stream the gradients up and down once, over 2 log2(n)
  hops, which takes 2 x bytes / bandwidth + 2 log2(n) x latency. NCCL selects the faster of the two by a model of this
  form (https://github.com/NVIDIA/nccl/blob/01afd20a77b5804e0ecf1042509dd9d20ebf9e93/src/graph/tuning.cc), as
  `quickest_seconds` does.

Assumptions: every rank has the same batch size as a single rank; computing takes the same time on all ranks in every
step; reducing starts when all gradients are computed, as in `bigearth_tf.distributed.collectives.reduce_gradients`, so
that nothing overlaps; no other traffic uses the links; all links of the ring are as slow as the slowest one; no rank
waits for input.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Link:
    """The connection of a rank to the next one; `latency_s` is the time of a message of any size."""

    bandwidth_bytes_s: float
    latency_s: float


def ring_seconds(ranks: int, num_bytes: float, link: Link) -> float:
    """Returns the time that a ring needs to reduce."""
    hops = 2 * (ranks - 1)
    return hops / ranks * num_bytes / link.bandwidth_bytes_s + hops * link.latency_s


def tree_seconds(ranks: int, num_bytes: float, link: Link) -> float:
    """Returns the time that two binary trees need to reduce."""
    if ranks == 1:
        return 0.0
    return 2 * num_bytes / link.bandwidth_bytes_s + 2 * math.ceil(math.log2(ranks)) * link.latency_s


def quickest_seconds(ranks: int, num_bytes: float, link: Link) -> float:
    """Returns the time that the faster of ring and trees needs to reduce."""
    return min(ring_seconds(ranks, num_bytes, link), tree_seconds(ranks, num_bytes, link))


def efficiency(compute_s: float, communication_s: float) -> float:
    """Returns the efficiency: images/s of n ranks divided by n times the images/s of one rank."""
    return compute_s / (compute_s + communication_s)


def fit_link(timings: Iterable[tuple[int, float, float]]) -> Link:
    """Returns the link that fits timed rings best, with least squares of relative errors.

    Args:
        timings: (ranks, bytes, seconds) of each ring, with at least two sizes.
    """
    rows = [(2 * (n - 1) / n * num_bytes / s, 2 * (n - 1) / s) for n, num_bytes, s in timings]
    # The unknowns are seconds per byte and seconds per hop, scaled because their magnitudes differ.
    scale = np.abs(rows).max(axis=0)
    solution, *_ = np.linalg.lstsq(np.array(rows) / scale, np.ones(len(rows)), rcond=None)
    per_byte, per_hop = np.maximum(solution / scale, 1e-15)
    return Link(1 / per_byte, per_hop)
