"""How does a base network grow? Depth, width and resolution together, by powers of three coefficients.

Source: Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946, section 3.3, equation 3. Pure arithmetic.
"""

from __future__ import annotations

import dataclasses
import math

# alpha x beta^2 x gamma^2: how many times the FLOPs grow when phi grows by 1.
TARGET_GROWTH = 2.0
BASE_RESOLUTION_PX = 60


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Factors on the base network: of its depth, its width (channels) and its resolution (side of the image)."""

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        """Checks that the base network does not shrink to nothing."""
        if min(self.depth, self.width, self.resolution) <= 0:
            raise ValueError(f"The factors of a scaling are positive, not {self}.")

    @property
    def growth(self) -> float:
        """How many times the FLOPs of the base network: depth x width^2 x resolution^2."""
        return self.depth * self.width**2 * self.resolution**2

    @property
    def resolution_px(self) -> int:
        """Side of the image: that of the base, rounded up to a multiple of 10 px."""
        # Rounded first: 60 x 1.1 x 1.0 is 66.00000000000001, and 60 x 1.5 must not become 100.
        return math.ceil(round(BASE_RESOLUTION_PX * self.resolution / 10, 9)) * 10


def compound_scaling(alpha: float, beta: float, gamma: float, phi: float, *, tolerance: float = 0.1) -> Scaling:
    """Returns depth alpha^phi, width beta^phi, resolution gamma^phi.

    Args:
        alpha: Growth of depth per unit of phi, at least 1.
        beta: Growth of width.
        gamma: Growth of resolution.
        phi: How many times the FLOPs are doubled.
        tolerance: How far alpha x beta^2 x gamma^2 may be from 2, as a share of 2.

    Raises:
        ValueError: A coefficient is below 1, or the three break the constraint.
    """
    if min(alpha, beta, gamma) < 1 or phi < 0:
        raise ValueError(f"alpha={alpha}, beta={beta}, gamma={gamma} must be at least 1, and phi={phi} at least 0.")
    growth = alpha * beta**2 * gamma**2
    if abs(growth - TARGET_GROWTH) > tolerance * TARGET_GROWTH:
        raise ValueError(
            f"alpha x beta^2 x gamma^2 = {growth:.3f} for alpha={alpha}, beta={beta}, gamma={gamma}; compound scaling "
            f"keeps it within {tolerance:.0%} of {TARGET_GROWTH:g}. Lower or raise one, or give a larger tolerance."
        )
    return Scaling(alpha**phi, beta**phi, gamma**phi)


# The factors of B0 ... B7 in the published scaled families. NOTE: they were never published. One alone is known, from
# the published code's committed settings: depth 1.4, width 1.8, resolution 1.4. It is the fourth pair of EfficientNet's
# own table (width 1.4, depth 1.8) with the roles exchanged, and the resolution factor of the width; the other rows
# are that table continued in the same way. They are per-model factors, not powers of one set, and do not keep
# the constraint; a set that does is given by `compound_scaling`.
PUBLISHED_SCALINGS: tuple[Scaling, ...] = (
    Scaling(1.0, 1.0, 1.0),
    Scaling(1.0, 1.1, 1.0),
    Scaling(1.1, 1.2, 1.1),
    Scaling(1.2, 1.4, 1.2),
    Scaling(1.4, 1.8, 1.4),
    Scaling(1.6, 2.2, 1.6),
    Scaling(1.8, 2.6, 1.8),
    Scaling(2.0, 3.1, 2.0),
)
