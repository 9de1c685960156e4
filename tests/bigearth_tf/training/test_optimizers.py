"""Each optimizer, of Keras and of TensorFlow Addons: its steps, weight decay, loss scale and checkpoints."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import OptimizerConfig, ScheduleConfig
from bigearth_tf.training.optimizers import create_slots, list_optimizer_variables, make_optimizer, read_learning_rate
from bigearth_tf.training.schedules import make_schedule

NAMES = ("adam", "adamw", "sgd", "lamb")
DECAYING = ("adamw", "lamb")
each = pytest.mark.parametrize("name", NAMES)
scaled_or_not = pytest.mark.parametrize("scale_loss", [False, True], ids=["plain", "scaled"])


def make_net(value=None):
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.layers.Dense(2), keras.layers.BatchNormalization()])
    net.build((None, 2))
    if value is not None:
        net.set_weights([np.full(v.shape, value) for v in net.weights])
    return net


def make(name, net, scale_loss=False, rate=0.1, options=None, **fields):
    """Returns a built optimizer and a compiled function that takes a step; all gradients are the same number."""
    optimizer = make_optimizer(OptimizerConfig(name=name, **fields), rate, scale_loss)
    create_slots(optimizer, net.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec([])], **(options or {}))
    def step(gradient):
        optimizer.apply_gradients([(tf.fill(v.shape, gradient), v) for v in net.trainable_variables])

    return optimizer, step


@each
@scaled_or_not
def test_it_minimizes_counts_its_steps_and_reports_its_rate(name, scale_loss):
    net = make_net(1.0)
    schedule = make_schedule(ScheduleConfig(name="constant", peak=0.4, warmup_steps=4), 100, 128)
    optimizer, step = make(name, net, scale_loss, rate=schedule)
    assert int(optimizer.iterations) == 0
    num_variables = len(list_optimizer_variables(optimizer))
    rates = [read_learning_rate(optimizer)]
    for _ in range(5):
        step(1.0)
        rates.append(read_learning_rate(optimizer))
    assert all((variable.numpy() < 1).all() for variable in net.trainable_variables)
    assert rates == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.4, 0.4])
    assert int(optimizer.iterations) == 5
    assert len(list_optimizer_variables(optimizer)) == num_variables, "a step made variables that building had not"
    slots = {"adam": 2, "adamw": 2, "sgd": 1, "lamb": 2}[name]
    assert num_variables == 1 + slots * len(net.trainable_variables) + 2 * scale_loss


@each
def test_the_rate_may_be_a_number(name):
    assert read_learning_rate(make(name, make_net(), rate=0.25)[0]) == pytest.approx(0.25)


@each
def test_xla_takes_and_skips_the_same_steps(name):
    nets = make_net(), make_net()
    for net, options in zip(nets, ({}, {"jit_compile": True})):
        step = make(name, net, scale_loss=True, options=options)[1]
        for gradient in (1.0, np.nan, -2.0):
            step(gradient)
    for one, other in zip(*(net.trainable_variables for net in nets)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", DECAYING)
def test_kernels_decay_and_nothing_else(name):
    net = make_net(1.0)
    make(name, net, weight_decay=0.5)[1](0.0)
    for variable in net.trainable_variables:
        # No gradient: AdamW takes rate x decay x weight; LAMB makes that step as long as the weight, x rate.
        taken = {"adamw": 0.05, "lamb": 0.1}[name] if "kernel" in variable.name else 0.0
        np.testing.assert_allclose(variable, tf.ones_like(variable) - taken, rtol=1e-6, err_msg=variable.name)


def test_momentum_comes_from_the_config():
    net = make_net(0.0)
    step = make("sgd", net, momentum=0.5)[1]
    step(1.0)
    step(1.0)
    np.testing.assert_allclose(net.trainable_variables[0], np.full((2, 2), -0.1 - 0.15), rtol=1e-6)


@each
def test_an_overflow_skips_the_step_and_halves_the_scale(name):
    net = make_net(1.0)
    optimizer, step = make(name, net, scale_loss=True)
    loss = optimizer.get_scaled_loss(tf.constant(3.0))
    assert float(loss) == 3.0 * 2**15
    (unscaled,) = optimizer.get_unscaled_gradients([loss])
    assert float(unscaled) == 3.0
    for number, bad in enumerate((np.inf, np.nan), start=1):
        step(bad)
        assert all((variable.numpy() == 1).all() for variable in net.trainable_variables)
        assert float(optimizer.loss_scale) == 2 ** (15 - number)
        assert int(optimizer.iterations) == number
    step(1.0)
    assert all((variable.numpy() < 1).all() for variable in net.trainable_variables)


@each
@scaled_or_not
def test_a_checkpoint_restores_everything(name, scale_loss, tmp_path):
    net, other = make_net(), make_net(0.0)
    (optimizer, step), (again, step_again) = make(name, net, scale_loss), make(name, other, scale_loss)
    for gradient in (1.0, np.nan if scale_loss else 2.0, 3.0):
        step(gradient)
    path = tf.train.Checkpoint(model=net, optimizer=optimizer).save(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(model=other, optimizer=again).restore(path).assert_consumed()
    for one, two in zip(list_optimizer_variables(optimizer), list_optimizer_variables(again)):
        np.testing.assert_array_equal(one, two, err_msg=one.name)
    step(0.5)
    step_again(0.5)
    for one, two in zip(net.variables, other.variables):
        np.testing.assert_array_equal(one, two, err_msg=one.name)


def test_wrong_names_and_decay_that_is_not_read_are_refused():
    with pytest.raises(ValueError, match="optimizer.name='lion'.*adam, adamw, sgd, lamb"):
        make_optimizer(OptimizerConfig(name="lion"), 0.1)
    for name in set(NAMES) - set(DECAYING):
        with pytest.raises(ValueError, match=f"weight_decay=0.1: {name} has none; choose adamw or lamb"):
            make_optimizer(OptimizerConfig(name=name, weight_decay=0.1), 0.1)


def test_lamb_without_its_package_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(RuntimeError, match="pip install .*tensorflow-addons==0.23.0"):
        make_optimizer(OptimizerConfig(name="lamb"), 0.1)


def test_only_lamb_loads_its_package_and_without_warnings():
    script = (
        "import sys\n"
        "from bigearth_tf.config import OptimizerConfig\n"
        "from bigearth_tf.training.optimizers import make_optimizer\n"
        "make_optimizer(OptimizerConfig(name='adamw'), 0.1)\n"
        "assert 'tensorflow_addons' not in sys.modules\n"
        "make_optimizer(OptimizerConfig(name='lamb'), 0.1)\n"
        "assert 'tensorflow_addons' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "default", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Addons" not in done.stderr + done.stdout
