"""Does the learning rate move as its name says?"""

import pytest

from bigearth_tf.config import OptimizerConfig, ScheduleConfig
from bigearth_tf.optimizers import make_optimizer
from bigearth_tf.schedules import make_schedule


def rates(name, steps, warmup=0):
    schedule = make_schedule(ScheduleConfig(name=name, peak=0.2, warmup_steps=warmup), steps)
    return [float(schedule(step)) for step in range(steps)]


def test_constant():
    assert rates("constant", 5) == pytest.approx([0.2] * 5)


def test_step_drops_tenfold_twice():
    found = rates("step", 30)
    assert found[24] == pytest.approx(0.2)
    assert found[25] == pytest.approx(0.02)
    assert found[27] == pytest.approx(0.02)
    assert found[28] == pytest.approx(0.002)


def test_cosine_falls_to_zero():
    found = rates("cosine", 100)
    assert found[0] == pytest.approx(0.2)
    assert found[50] == pytest.approx(0.1)
    assert found[99] < 0.001
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_warm_up_rises_to_the_start_of_the_schedule(name):
    found = rates(name, 110, warmup=10)
    assert found[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    assert found[10:] == pytest.approx(rates(name, 100))


def test_wrong_names_and_too_long_a_warm_up_are_refused():
    with pytest.raises(ValueError, match="schedule.name='cosinus': unknown; allowed: constant, step, cosine"):
        rates("cosinus", 3)
    with pytest.raises(ValueError, match="warmup_steps=5 leaves nothing"):
        rates("cosine", 5, warmup=5)
    with pytest.raises(ValueError, match="optimizer.name='lion'.*adam, adamw, sgd"):
        make_optimizer(OptimizerConfig(name="lion"), 0.1)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimisers_follow_the_schedule(name):
    optimizer = make_optimizer(OptimizerConfig(name=name), make_schedule(ScheduleConfig(peak=0.2, warmup_steps=2), 10))
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
