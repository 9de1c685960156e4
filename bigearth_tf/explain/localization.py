"""How well an attribution map finds the pixels of a class, where these are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Localization(NamedTuple):
    """How much of a map is where the class is.

    `mass` is the part of the positive attribution that lies inside; `chance` is the part of the pixels that lie inside,
    which is the mass of a map that knows nothing. `auroc` is the probability that a pixel inside has a higher value
    than one outside; 0.5 is chance.
    """

    mass: float
    chance: float
    auroc: float


def localize(values: np.ndarray, inside: np.ndarray) -> Localization:
    """Returns how well a map finds a class; a map without positive values has the mass of chance.

    Args:
        values: The map [S, S].
        inside: bool [S, S], where the class is: neither everywhere nor nowhere.

    Raises:
        ValueError: The class is everywhere or nowhere.
    """
    chance = float(inside.mean())
    if not 0 < chance < 1:
        raise ValueError(f"The class covers a share of {chance:g} of the pixels: there is nothing to find.")
    positive = np.maximum(values, 0).astype(np.float64)
    total = positive.sum()
    num_inside, num_outside = int(inside.sum()), int((~inside).sum())
    # Mann-Whitney: of all pairs of a pixel inside and one outside, those in the right order; ties count half.
    wins = stats.rankdata(values)[inside.ravel()].sum() - num_inside * (num_inside + 1) / 2
    return Localization(
        mass=float(positive[inside].sum() / total) if total else chance,
        chance=chance,
        auroc=float(wins / (num_inside * num_outside)),
    )
