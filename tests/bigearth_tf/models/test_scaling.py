"""Compound scaling against the numbers of its paper, the reference scalings, and the estimated costs."""

import math

import keras
import pytest

from bigearth_tf.models.cost import compute_cost
from bigearth_tf.models.cost_estimate import estimate_cost
from bigearth_tf.models.families import mlp_mixer as another_family
from bigearth_tf.models.families.wide_resnet import Config, scale_config
from bigearth_tf.models.registry import create_model, model_config, reference_overrides
from bigearth_tf.models.scaling import REFERENCE_SCALINGS, Scaling, coefficient_grid, compound_scaling

# The coefficients that the grid search of EfficientNet found: https://arxiv.org/abs/1905.11946, section 4.
EFFICIENTNET = (1.2, 1.1, 1.15)


def test_the_example_of_the_paper():
    scaling = compound_scaling(*EFFICIENTNET, phi=1)
    assert (scaling.depth, scaling.width, scaling.resolution) == EFFICIENTNET
    assert scaling.growth == pytest.approx(1.92027)
    fourth = compound_scaling(*EFFICIENTNET, phi=4)
    assert (fourth.depth, fourth.width) == pytest.approx((2.0736, 1.4641))
    assert fourth.growth == pytest.approx(1.92027**4)


def test_phi_0_is_the_base_network():
    assert compound_scaling(*EFFICIENTNET, phi=0) == Scaling() == REFERENCE_SCALINGS[0]
    assert Scaling().growth == 1
    assert Scaling().resolution_px == 60


def test_phi_may_be_a_fraction():
    assert compound_scaling(2.0, 1.0, 1.0, phi=0.5) == Scaling(math.sqrt(2), 1.0, 1.0)


def test_resolution_is_rounded_up_to_a_multiple_of_10_px():
    sides = [compound_scaling(*EFFICIENTNET, phi=phi).resolution_px for phi in range(8)]
    assert sides == [60, 70, 80, 100, 110, 130, 140, 160]
    assert [Scaling(resolution=factor).resolution_px for factor in (1.1, 1.4, 1.5, 0.5, 0.1)] == [70, 90, 90, 30, 10]


def test_rounding_errors_do_not_add_ten_pixels():
    scaling = compound_scaling(1.0, 1.0, math.sqrt(2), phi=2)
    assert scaling.resolution > 2
    assert scaling.resolution_px == 120


@pytest.mark.parametrize(("coefficients", "message"), [
    ((1.0, 1.0, 1.0), r"alpha x beta\^2 x gamma\^2 = 1\.000 for alpha=1\.0, .* within 10% of 2"),
    ((1.4, 1.8, 1.4), r"= 8\.891 for alpha=1\.4, beta=1\.8, gamma=1\.4"),
    ((2.3, 1.0, 1.0), r"= 2\.300"),
    ((0.9, 1.2, 1.2), r"alpha=0\.9, beta=1\.2, gamma=1\.2 must be at least 1"),
])  # fmt: skip
def test_coefficients_outside_the_constraint_are_refused(coefficients, message):
    with pytest.raises(ValueError, match=message):
        compound_scaling(*coefficients, phi=1)


def test_the_tolerance_is_a_share_of_2():
    assert compound_scaling(2.2, 1.0, 1.0, phi=1).depth == 2.2
    assert compound_scaling(2.3, 1.0, 1.0, phi=1, tolerance=0.15).depth == 2.3
    with pytest.raises(ValueError, match="within 4% of 2"):
        compound_scaling(*EFFICIENTNET, phi=1, tolerance=0.035)


def test_a_grid_contains_exactly_the_coefficients_within_the_constraint():
    # By hand, in steps of 0.5: 2 is exact; 1.5^2 = 2.25 differs by 12.5 %; 1.5 differs by 25 %.
    assert coefficient_grid(0.5, tolerance=0.1) == [(2.0, 1.0, 1.0)]
    assert coefficient_grid(0.5, tolerance=0.125) == [(2.0, 1.0, 1.0), (1.0, 1.0, 1.5), (1.0, 1.5, 1.0)]
    assert coefficient_grid(0.5, tolerance=0.0) == [(2.0, 1.0, 1.0)]
    assert coefficient_grid(0.3, tolerance=0.05) == [(1.9, 1.0, 1.0)]


def test_the_grid_contains_the_coefficients_of_efficientnet():
    grid = coefficient_grid(0.05)
    assert EFFICIENTNET in grid
    growths = [alpha * beta**2 * gamma**2 for alpha, beta, gamma in grid]
    assert [abs(growth - 2) for growth in growths] == pytest.approx(sorted(abs(growth - 2) for growth in growths))
    for coefficients in grid:
        compound_scaling(*coefficients, phi=1)
    assert {alpha for alpha, beta, gamma in grid if beta == gamma == 1} == {
        1.8,
        1.85,
        1.9,
        1.95,
        2,
        2.05,
        2.1,
        2.15,
        2.2,
    }


def test_negative_phi_and_factors_of_0_are_refused():
    with pytest.raises(ValueError, match="phi=-1 at least 0"):
        compound_scaling(*EFFICIENTNET, phi=-1)
    with pytest.raises(ValueError, match="positive"):
        Scaling(width=0.0)


def test_the_reference_scalings_contain_the_one_known_setting():
    # Committed in the benchmark's code: 90 px and 984,313 trainable parameters for WideResNet-ECA.
    assert REFERENCE_SCALINGS[4] == Scaling(1.4, 1.8, 1.4)
    assert REFERENCE_SCALINGS[4].resolution_px == 90
    cost = estimate_cost(model_config("wide_resnet_eca_b4", **reference_overrides("wide_resnet_eca_b4")), 10, 19)
    assert cost.trainable_parameters == 984_313
    # "An order of magnitude" below ResNet50.
    assert cost.parameters < 23.6e6 / 10


def test_the_reference_scalings_only_grow():
    assert len(REFERENCE_SCALINGS) == 8
    for small, large in zip(REFERENCE_SCALINGS, REFERENCE_SCALINGS[1:]):
        assert small.growth < large.growth
        assert small.depth <= large.depth
        assert small.width <= large.width
        assert small.resolution <= large.resolution


def test_other_coefficients_give_other_variants():
    config = scale_config(Config(attention="eca"), compound_scaling(1.3, 1.1, 1.15, phi=3))
    assert (config.depth, config.width, config.resolution_px) == (22, pytest.approx(2.662), 100)
    assert config.attention == "eca"


# test_zoo.py checks every other model, from shapes in every run and built with --full.
def test_the_estimate_equals_the_cost_of_the_built_model():
    model = create_model("wide_resnet_eca_b0", num_classes=19)
    assert estimate_cost(model_config("wide_resnet_eca_b0"), num_bands=10, num_classes=19) == compute_cost(model)
    keras.backend.clear_session()


@pytest.mark.parametrize("overrides", [
    {"depth": 22, "width": 1.3, "resolution_px": 45, "attention": "cbam"},
    {"depth": 16, "width": 3.0, "resolution_px": 33, "attention": "coordinate", "ghost": "published"},
])  # fmt: skip
def test_the_estimate_follows_overrides_bands_and_classes(overrides):
    model = create_model("wide_resnet", bands="RGB", num_classes=5, **overrides)
    assert estimate_cost(model_config("wide_resnet", **overrides), num_bands=3, num_classes=5) == compute_cost(model)


def test_other_families_are_not_estimated():
    with pytest.raises(ValueError, match="Only WideResNets"):
        estimate_cost(another_family.Config(), 10, 19)
