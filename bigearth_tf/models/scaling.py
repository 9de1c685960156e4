"""Compound scaling: depth, width and resolution of a network grow together, by powers of three coefficients.

Source: Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946, section 3.3, equation 3.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

# alpha x beta^2 x gamma^2: the factor of the FLOPs when phi grows by 1.
TARGET_GROWTH = 2.0
BASE_RESOLUTION_PX = 60


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Factors of the base network's depth, width (channels) and resolution (side of the image)."""

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        """Checks that every factor is positive."""
        if min(self.depth, self.width, self.resolution) <= 0:
            raise ValueError(f"The factors of a scaling are positive, not {self}.")

    @property
    def growth(self) -> float:
        """The factor of the base network's FLOPs: depth x width^2 x resolution^2."""
        return self.depth * self.width**2 * self.resolution**2

    @property
    def resolution_px(self) -> int:
        """Side of the scaled image, rounded up to a multiple of 10 px."""
        # Rounded first: for gamma = sqrt(2) and phi = 2 the factor is 2.0000000000000004, which would give 130 px.
        return math.ceil(round(BASE_RESOLUTION_PX * self.resolution / 10, 9)) * 10


def compound_scaling(alpha: float, beta: float, gamma: float, phi: float, *, tolerance: float = 0.1) -> Scaling:
    """Returns depth alpha^phi, width beta^phi, resolution gamma^phi.

    Args:
        alpha: Growth of depth per unit of phi, at least 1.
        beta: Growth of width.
        gamma: Growth of resolution.
        phi: Number of times that the FLOPs double, at least 0.
        tolerance: Allowed difference of alpha x beta^2 x gamma^2 from 2, as a share of 2.

    Raises:
        ValueError: A coefficient is below 1, or the three violate the constraint.
    """
    if min(alpha, beta, gamma) < 1 or phi < 0:
        raise ValueError(f"alpha={alpha}, beta={beta}, gamma={gamma} must be at least 1, and phi={phi} at least 0.")
    growth = alpha * beta**2 * gamma**2
    if round(abs(growth / TARGET_GROWTH - 1), 9) > tolerance:  # Rounded, so that 2.2 differs by exactly 10 %.
        raise ValueError(
            f"alpha x beta^2 x gamma^2 = {growth:.3f} for alpha={alpha}, beta={beta}, gamma={gamma}; compound scaling "
            f"keeps it within {tolerance:.0%} of {TARGET_GROWTH:g}. Change a coefficient, or allow a larger tolerance."
        )
    return Scaling(alpha**phi, beta**phi, gamma**phi)


def coefficient_grid(step: float, *, tolerance: float = 0.1) -> list[tuple[float, float, float]]:
    """Returns every (alpha, beta, gamma) of 1, 1 + step, 1 + 2 step ... within the constraint, the closest to it first.

    Args:
        step: Above 0.
        tolerance: As in `compound_scaling`.
    """
    largest = TARGET_GROWTH * (1 + tolerance)
    values = [round(1 + index * step, 9) for index in range(math.floor(round((largest - 1) / step, 9)) + 1)]
    found = []
    for alpha, beta, gamma in itertools.product(values, repeat=3):
        distance = round(abs(alpha * beta**2 * gamma**2 / TARGET_GROWTH - 1), 9)
        if distance <= tolerance:
            found.append((distance, (alpha, beta, gamma)))
    return [coefficients for _, coefficients in sorted(found)]


# The factors of B0 ... B7 in the benchmark's scaled families. NOTE: a reconstruction; they were never published. One
# setting is known, from a commit of the benchmark's code: depth 1.4, width 1.8, resolution 1.4, a WideResNet-ECA with
# 984,313 trainable parameters at 90 px. Three explanations were compared with it:
#   A  EfficientNet's table of depth and width, and its resolutions divided by 224 px: B4 is 1.8, 1.4, 1.70;
#   B  that table with depth and width exchanged, and the resolution growing as the depth: B4 is 1.4, 1.8, 1.4;
#   C  powers of EfficientNet's 1.2, 1.1, 1.15: B4 is 2.07, 1.46, 1.75.
# Only explanation B contains the known setting, and keeps B4 below a tenth of the 23.6 M parameters of ResNet50: 1.0 M
# in the reference form, where A has 2.1 M and C 3.1 M. Each row below has the factors of one model; they are not powers
# of one set of coefficients, and do not satisfy the constraint. For other factors, override depth, width and
# resolution_px, or use `scale_config(config, compound_scaling(alpha, beta, gamma, phi))` of a family;
# experiments/search_scaling.py searches for coefficients.
REFERENCE_SCALINGS: tuple[Scaling, ...] = (
    Scaling(1.0, 1.0, 1.0),
    Scaling(1.0, 1.1, 1.0),
    Scaling(1.1, 1.2, 1.1),
    Scaling(1.2, 1.4, 1.2),
    Scaling(1.4, 1.8, 1.4),
    Scaling(1.6, 2.2, 1.6),
    Scaling(1.8, 2.6, 1.8),
    Scaling(2.0, 3.1, 2.0),
)
