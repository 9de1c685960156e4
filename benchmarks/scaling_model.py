"""How long do n ranks take to agree on their gradients, and how much of their time is left to train?

The alpha-beta model: a message of b bytes takes latency + b / bandwidth. What follows from it:

- A ring (https://doi.org/10.1016/j.jpdc.2008.09.002) passes n-ths of the gradients on 2 (n - 1) times:
  2 (n - 1) / n x bytes / bandwidth + 2 (n - 1) x latency. Gloo reduces in this way.
- Two binary trees (https://doi.org/10.1016/j.parco.2009.09.001) send all up and down once, in a stream, over 2 log2 n
  hops: 2 x bytes / bandwidth + 2 log2(n) x latency. NCCL takes whichever of the two its own model, of this form,
  finds quicker (https://github.com/NVIDIA/nccl/blob/01afd20a77b5804e0ecf1042509dd9d20ebf9e93/src/graph/tuning.cc), and
  so does `quickest_seconds`.

Assumed: every rank has the batch it had alone; computing takes equally long on all of them, every time; reducing begins
when all gradients are there, as `bigearth_tf.distributed.reduce_gradients` does, so that nothing overlaps; links are
used by nobody else; the ring's slowest link counts for all; input keeps up.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Link:
    """What joins a rank to the next one: what a message costs, whatever its size, and what its bytes cost."""

    bandwidth_bytes_s: float
    latency_s: float


def ring_seconds(ranks: int, num_bytes: float, link: Link) -> float:
    """Returns how long a ring takes to reduce."""
    hops = 2 * (ranks - 1)
    return hops / ranks * num_bytes / link.bandwidth_bytes_s + hops * link.latency_s


def tree_seconds(ranks: int, num_bytes: float, link: Link) -> float:
    """Returns how long two binary trees take to reduce."""
    if ranks == 1:
        return 0.0
    return 2 * num_bytes / link.bandwidth_bytes_s + 2 * math.ceil(math.log2(ranks)) * link.latency_s


def quickest_seconds(ranks: int, num_bytes: float, link: Link) -> float:
    """Returns how long the quicker of ring and trees takes."""
    return min(ring_seconds(ranks, num_bytes, link), tree_seconds(ranks, num_bytes, link))


def efficiency(compute_s: float, communication_s: float) -> float:
    """Returns the share of a step that goes into what a single rank does: images/s of n ranks over n x those of one."""
    return compute_s / (compute_s + communication_s)


def fit_link(timings: Iterable[tuple[int, float, float]]) -> Link:
    """Returns the link that explains timed rings best, by relative error, so that short ones count like long ones.

    Args:
        timings: (ranks, bytes, seconds) of each, of at least two sizes.
    """
    rows = [(2 * (n - 1) / n * num_bytes / s, 2 * (n - 1) / s) for n, num_bytes, s in timings]
    # Unknown are seconds a byte and seconds a hop; scaled, since they are of very different size.
    scale = np.abs(rows).max(axis=0)
    solution, *_ = np.linalg.lstsq(np.array(rows) / scale, np.ones(len(rows)), rcond=None)
    per_byte, per_hop = np.maximum(solution / scale, 1e-15)
    return Link(1 / per_byte, per_hop)
