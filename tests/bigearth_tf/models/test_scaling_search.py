"""Candidates of a search for scaling coefficients, and the errors for impossible searches."""

import dataclasses

import pytest

from bigearth_tf.models.cost_estimate import estimate_cost
from bigearth_tf.models.registry import model_config
from bigearth_tf.models.scaling_search import CandidateSearch, SearchSpace

SPACE = SearchSpace(step=0.4, tolerance=0.05, flops_budget=3.0, flops_tolerance=0.25)


def test_candidates_are_the_networks_of_the_grid_by_their_flops():
    search = CandidateSearch("wide_resnet", {"dropout": 0.0}, num_bands=3, num_classes=5)
    assert search.base.overrides == {"dropout": 0.0, "depth": 10, "width": 2.0, "resolution_px": 60}
    # By hand: of steps of 0.4, only 1.4^2 = 1.96 is within 5 % of 2.
    wider, larger = search.find(SPACE)
    assert wider.coefficients == ((1.0, 1.4, 1.0),)
    assert wider.overrides == {**search.base.overrides, "width": 2.8}
    assert larger.coefficients == ((1.0, 1.0, 1.4),)
    assert larger.overrides == {**search.base.overrides, "resolution_px": 90}
    for candidate in (search.base, wider, larger):
        assert candidate.cost == estimate_cost(model_config("wide_resnet", **candidate.overrides), 3, 5)
    assert search.base.cost.flops < wider.cost.flops < larger.cost.flops


def test_the_budget_and_its_tolerance_limit_the_flops():
    search = CandidateSearch("wide_resnet", {}, num_bands=10, num_classes=19)
    wider, _ = search.find(SPACE)
    factor = wider.cost.flops / search.base.cost.flops
    exact = dataclasses.replace(SPACE, flops_budget=factor * 1.001 / 1.25)
    assert search.find(exact) == [wider]
    with pytest.raises(ValueError, match="None of 2 networks of the grid is within the budget; give a finer --step"):
        search.find(dataclasses.replace(SPACE, flops_budget=factor * 0.999 / 1.25))


def test_models_that_cannot_be_searched_are_refused():
    with pytest.raises(ValueError, match="config.model='vit_20': only WideResNets are searched"):
        CandidateSearch("vit_20", {}, 10, 19)
    with pytest.raises(ValueError, match="config.model_overrides sets depth, width, which the search varies"):
        CandidateSearch("wide_resnet", {"width": 4, "depth": 16}, 10, 19)
