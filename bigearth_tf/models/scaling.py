"""How does a base network grow? Depth, width and resolution together, by powers of three coefficients.

Source: Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946, section 3.3, equation 3. Pure arithmetic.
"""

from __future__ import annotations

import dataclasses
import itertools
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
        # Rounded first: for gamma = sqrt(2) and phi = 2 the factor is 2.0000000000000004, which must not become 130 px.
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
    if round(abs(growth / TARGET_GROWTH - 1), 9) > tolerance:  # 2.2 is 10 % from 2, whatever its last digit.
        raise ValueError(
            f"alpha x beta^2 x gamma^2 = {growth:.3f} for alpha={alpha}, beta={beta}, gamma={gamma}; compound scaling "
            f"keeps it within {tolerance:.0%} of {TARGET_GROWTH:g}. Lower or raise one, or give a larger tolerance."
        )
    return Scaling(alpha**phi, beta**phi, gamma**phi)


def coefficient_grid(step: float, *, tolerance: float = 0.1) -> list[tuple[float, float, float]]:
    """Returns every (alpha, beta, gamma) of 1, 1 + step, 1 + 2 step ... that keeps the constraint, best kept first.

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


# The factors of B0 ... B7 in the published scaled families. NOTE: a reconstruction; they were never published. One
# setting is known, committed in the published code: depth 1.4, width 1.8, resolution 1.4, a WideResNet-ECA of 984,313
# trainable parameters at 90 px. Three readings were held against it:
#   A  EfficientNet's own table of depth and width, and its resolutions by 224 px: B4 is 1.8, 1.4, 1.70;
#   B  that table with depth and width exchanged, and the resolution growing as the depth: B4 is 1.4, 1.8, 1.4;
#   C  powers of EfficientNet's 1.2, 1.1, 1.15, by which B4 is 2.07, 1.46, 1.75.
# B alone contains the known setting, and keeps B4 at less than a tenth of the 23.6 M parameters of ResNet50, in the
# published form 1.0 M, where A has 2.1 M and C 3.1 M. Its rows are factors of one model each, not powers of one set,
# and do not keep the constraint. Any other set is at hand: override depth, width and resolution_px, or let a family
# grow by `scaled(config, compound_scaling(alpha, beta, gamma, phi))`; experiments/search_scaling.py searches for one.
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
