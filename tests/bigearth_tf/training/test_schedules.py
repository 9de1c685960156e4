"""Learning-rate schedules: their shapes, the warm-up, and the scaling with the global batch."""

import pytest

from bigearth_tf.config import ScheduleConfig
from bigearth_tf.training.schedules import make_schedule


def rates(name, steps, warmup=0, batch=128, **fields):
    schedule = make_schedule(ScheduleConfig(name=name, peak=0.2, warmup_steps=warmup, **fields), steps, batch)
    return [float(schedule(step)) for step in range(steps)]


def test_constant():
    assert rates("constant", 5) == pytest.approx([0.2] * 5)


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_step_drops_tenfold_after_24_and_27_of_30_epochs(steps_per_epoch):
    found = rates("step", 30 * steps_per_epoch)
    by_epoch = [0.2] * 24 + [0.02] * 3 + [0.002] * 3
    assert found == pytest.approx([rate for rate in by_epoch for _ in range(steps_per_epoch)])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_step_begins_at_its_peak_in_short_runs_too(steps):
    assert rates("step", steps)[0] == pytest.approx(0.2)


def test_cosine_falls_to_zero():
    found = rates("cosine", 100)
    assert found[0] == pytest.approx(0.2)
    assert found[25] == pytest.approx(0.2 * (1 + 2**-0.5) / 2)
    assert found[50] == pytest.approx(0.1)
    assert found[99] < 0.001
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_warm_up_rises_to_the_start_of_the_schedule(name):
    found = rates(name, 110, warmup=10)
    assert found[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    assert found[10:] == pytest.approx(rates(name, 100))


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"scaling": "none"}, 1),
        ({"scaling": "none", "reference_batch_size": 32}, 1),
        ({"scaling": "linear", "reference_batch_size": 32}, 16),
        ({"scaling": "linear", "reference_batch_size": 1024}, 0.5),
        ({"scaling": "sqrt", "reference_batch_size": 32}, 4),
        ({"scaling": "explicit", "scale": 2.5}, 2.5),
    ],
)
@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_scaling_multiplies_every_step(name, fields, factor):
    plain = rates(name, 20, warmup=5)
    assert rates(name, 20, warmup=5, batch=512, **fields) == pytest.approx([factor * rate for rate in plain])


def test_wrong_names_and_too_long_a_warm_up_are_refused():
    with pytest.raises(ValueError, match="schedule.name='cosinus': unknown; allowed: constant, step, cosine"):
        rates("cosinus", 3)
    with pytest.raises(ValueError, match="schedule.scaling='log': unknown; allowed: none, linear, sqrt, explicit"):
        rates("cosine", 3, scaling="log")
    with pytest.raises(ValueError, match="schedule.scale=2.0 is read only with schedule.scaling=explicit"):
        rates("cosine", 3, scaling="linear", scale=2.0)
    with pytest.raises(ValueError, match="warmup_steps=5 leaves nothing"):
        rates("cosine", 5, warmup=5)
