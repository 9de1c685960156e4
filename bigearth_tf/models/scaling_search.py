"""Candidates of a grid search for the coefficients of compound scaling, within a budget of FLOPs.

Source: Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946, section 3.3: with phi = 1, every alpha, beta and
gamma for which alpha x beta^2 x gamma^2 is about 2.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import logging

from bigearth_tf.models.cost import Cost
from bigearth_tf.models.cost_estimate import estimate_cost
from bigearth_tf.models.families import wide_resnet
from bigearth_tf.models.registry import model_config
from bigearth_tf.models.scaling import Scaling, coefficient_grid

Coefficients = tuple[float, float, float]
# The fields that a search determines.
SCALED_FIELDS = ("depth", "width", "resolution_px")


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The grid and the budget of a search.

    `step` is that of the grid of alpha, beta and gamma; `tolerance` is the allowed difference of alpha x beta^2 x
    gamma^2 from 2, as a share of 2. `flops_budget` limits the FLOPs of a candidate, in multiples of those of the base
    network; `flops_tolerance` is the share by which a candidate may exceed it.
    """

    step: float
    tolerance: float
    flops_budget: float
    flops_tolerance: float


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network: its overrides, its cost, and all (alpha, beta, gamma) of it, closest to the constraint first."""

    name: str
    overrides: dict[str, Any]
    cost: Cost
    coefficients: tuple[Coefficients, ...]


@dataclasses.dataclass(frozen=True)
class CandidateSearch:
    """The candidates of a base network.

    Args:
        model: Name of the base, a WideResNet.
        overrides: Overrides of the base.
        num_bands: Number of bands for which costs are computed.
        num_classes: Number of classes for which costs are computed.

    Raises:
        ValueError: The model cannot be scaled here, or its overrides contain one of `SCALED_FIELDS`.
    """

    model: str
    overrides: dict[str, Any]
    num_bands: int
    num_classes: int

    def __post_init__(self) -> None:
        """Checks the base network."""
        fixed = sorted(set(SCALED_FIELDS) & set(self.overrides))
        if fixed:
            raise ValueError(f"config.model_overrides sets {', '.join(fixed)}, which the search varies; leave it out.")
        if not isinstance(model_config(self.model, **self.overrides), wide_resnet.Config):
            raise ValueError(f"config.model={self.model!r}: only WideResNets are searched; name one of wide_resnet_*.")

    @property
    def base(self) -> Candidate:
        """The base network, phi = 0."""
        return self._candidate([(1.0, 1.0, 1.0)])

    def find(self, space: SearchSpace) -> list[Candidate]:
        """Returns the different networks of the grid within the budget, from the lowest to the highest FLOPs.

        Raises:
            ValueError: No network is within the budget.
        """
        limit = self.base.cost.flops * space.flops_budget * (1 + space.flops_tolerance)
        merged: dict[Any, list[Coefficients]] = {}
        for coefficients in coefficient_grid(space.step, tolerance=space.tolerance):
            config = self._scaled(coefficients)
            channels = [wide_resnet.round_to_4(base * config.width) for base, _ in wide_resnet.STAGES]
            merged.setdefault((config.depth, config.resolution_px, *channels), []).append(coefficients)
        candidates = [self._candidate(equal) for equal in merged.values()]
        within = [candidate for candidate in candidates if candidate.cost.flops <= limit]
        if not within:
            raise ValueError(
                f"None of {len(candidates)} networks of the grid is within the budget; give a finer --step, or a "
                "larger --tolerance, --flops_budget or --flops_tolerance."
            )
        logging.info(
            "%d coefficients give %d networks, %d of them within %.3g GFLOPs.",
            sum(map(len, merged.values())),
            len(candidates),
            len(within),
            limit / 1e9,
        )
        return sorted(within, key=lambda candidate: (candidate.cost.flops, candidate.name))

    def _scaled(self, coefficients: Coefficients) -> wide_resnet.Config:
        """Returns the config at phi = 1; the grid has checked the constraint."""
        return wide_resnet.scale_config(model_config(self.model, **self.overrides), Scaling(*coefficients))

    def _candidate(self, coefficients: list[Coefficients]) -> Candidate:
        config = self._scaled(coefficients[0])
        fields = {"depth": config.depth, "width": round(config.width, 9), "resolution_px": config.resolution_px}
        cost = estimate_cost(config, self.num_bands, self.num_classes)
        name = f"depth{config.depth}_width{fields['width']:g}_{config.resolution_px}px"
        return Candidate(name, {**self.overrides, **fields}, cost, tuple(coefficients))
