"""Tests that every config is valid and that the learning rates of the presets follow their recipes."""

import importlib
from pathlib import Path

import pytest

from bigearth_tf.config import validate
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.training.losses import make_loss
from bigearth_tf.training.optimizers import make_optimizer
from bigearth_tf.training.schedules import make_schedule

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments" / "configs").glob("[a-z]*.py"))


def get_config(name):
    config = importlib.import_module(f"experiments.configs.{name}").get_config()
    config.data.data_dir = "somewhere"
    return config


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_valid_and_its_parts_can_be_created(name):
    config = get_config(name)
    validate(config)
    make_optimizer(config.optimizer, make_schedule(config.schedule, 10_000, config.global_batch_size))
    make_loss(config.loss, LabelKind.MULTI, [5] * 19, 100)


def test_the_published_rate_is_proportional_to_the_global_batch_without_warm_up():
    config = get_config("benchmark")
    for workers in (1, 4):
        schedule = make_schedule(config.schedule, 300, workers * 128)
        rates = [float(schedule(step)) for step in range(300)]
        expected = [1e-4] * 240 + [1e-5] * 30 + [1e-6] * 30
        assert rates == pytest.approx([workers * rate for rate in expected])


def test_the_modern_rate_warms_up_and_falls():
    config = get_config("modern")
    schedule = make_schedule(config.schedule, 46_400, config.global_batch_size)
    assert float(schedule(499)) == pytest.approx(0.5e-3)
    assert float(schedule(1000)) == pytest.approx(1e-3)
    assert float(schedule(1000 + 45_400 // 2)) == pytest.approx(0.5e-3)
    assert float(schedule(46_399)) < 1e-9
