"""Losses match their papers; class weights and the penalty match the config."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import LossConfig
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.models.registry import create_model
from bigearth_tf.training.losses import balanced_weights, l2_penalty, make_loss
from bigearth_tf.training.weight_decay import is_kernel

COUNTS = (10, 40, 20)


def value(labels, logits, kind=LabelKind.MULTI, num_records=100, **fields):
    loss = make_loss(LossConfig(**fields), kind, COUNTS, num_records)(tf.constant(labels), tf.constant(logits))
    assert loss.dtype == tf.float32 and loss.shape == [len(labels)]
    return loss.numpy()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_binary_cross_entropy_by_hand():
    found = value([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], [[0.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    by_hand = -(math.log(0.5) + math.log(1 - sigmoid(2)) + math.log(sigmoid(-1))) / 3
    assert found == pytest.approx([by_hand, math.log(2)])


def test_softmax_by_hand():
    found = value([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], [[0.0, math.log(2), 0.0], [0.0, 0.0, 0.0]], kind=LabelKind.SINGLE)
    assert found == pytest.approx([math.log(2), math.log(3)])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_focal_by_hand_and_without_gamma_cross_entropy(gamma):
    labels, logits = [[1.0, 0.0, 0.3]], [[0.7, -0.4, 1.2]]
    p = [sigmoid(x) for x in logits[0]]
    by_hand = -np.mean(
        [y * (1 - q) ** gamma * math.log(q) + (1 - y) * q**gamma * math.log(1 - q) for y, q in zip(labels[0], p)]
    )
    found = value(labels, logits, name="focal", focal_gamma=gamma)
    assert found == pytest.approx([by_hand])
    assert (found == pytest.approx(value(labels, logits))) == (gamma == 0)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "focal", "softmax"])
@pytest.mark.parametrize("label", [0.0, 1.0, 0.4])
def test_extreme_logits_have_finite_losses_and_gradients(name, label):
    loss = make_loss(
        LossConfig(name=name, focal_gamma=0.5), LabelKind.SINGLE if name == "softmax" else LabelKind.MULTI, COUNTS, 100
    )
    logits = tf.constant([[-1e4, 1e4, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = loss(tf.fill([1, 3], label), logits)
    gradient = tape.gradient(losses, logits)
    assert np.isfinite(losses.numpy()).all() and np.isfinite(gradient.numpy()).all()


def test_half_precision_logits_are_computed_in_full():
    loss = make_loss(LossConfig(), LabelKind.MULTI, COUNTS, 100)
    found = loss(tf.constant([[1.0, 0.0, 1.0]]), tf.constant([[12.0, -12.0, 12.0]], tf.float16))
    assert found.dtype == tf.float32
    assert found.numpy() == pytest.approx([math.log1p(math.exp(-12))], rel=1e-3)


def test_smoothing_spreads_over_present_and_absent_or_over_classes():
    labels, logits = [[1.0, 0.0, 0.0]], [[0.3, -2.0, 1.0]]
    assert value(labels, logits, label_smoothing=0.2) == pytest.approx(value([[0.9, 0.1, 0.1]], logits))
    by_class = value([[0.8 + 0.2 / 3, 0.2 / 3, 0.2 / 3]], logits, kind=LabelKind.SINGLE)
    assert value(labels, logits, kind=LabelKind.SINGLE, label_smoothing=0.2) == pytest.approx(by_class)


def test_balanced_weights_by_hand():
    # 1/10 : 1/40 : 1/20 = 4 : 1 : 2, with mean 1 over the classes.
    assert balanced_weights(LabelKind.MULTI, COUNTS, 100) == pytest.approx([12 / 7, 3 / 7, 6 / 7])
    # 70 / (3 count), with mean 1 over the records.
    single = balanced_weights(LabelKind.SINGLE, COUNTS, 70)
    assert single == pytest.approx([70 / 30, 70 / 120, 70 / 60])
    assert np.dot(single, COUNTS) / 70 == pytest.approx(1.0)


def test_weights_reach_each_loss():
    zeros = [[0.0, 0.0, 0.0]]
    assert value([[1.0, 0.0, 1.0]], zeros, class_weights="balanced") == pytest.approx([math.log(2)])
    log_loss = [math.log1p(math.exp(x)) for x in (-3.0, 0.0, 0.0)]
    by_hand = (log_loss[0] * 12 / 7 + log_loss[1] * 3 / 7 + log_loss[2] * 6 / 7) / 3
    assert value([[1.0, 0.0, 0.0]], [[3.0, 0.0, 0.0]], class_weights="balanced") == pytest.approx([by_hand])
    single = value(np.eye(3, dtype=np.float32), [[0.0] * 3] * 3, LabelKind.SINGLE, 70, class_weights="balanced")
    assert single == pytest.approx([math.log(3) * w for w in (70 / 30, 70 / 120, 70 / 60)])


def test_a_class_without_records_cannot_be_balanced():
    counts, names = (3, 0, 1, 0), ("Pastures", "Mixed forest", "Urban fabric", "Marine waters")
    with pytest.raises(ValueError, match="no training record has class 'Mixed forest', 'Marine waters'[.]"):
        make_loss(LossConfig(class_weights="balanced"), LabelKind.MULTI, counts, 4, names)
    with pytest.raises(ValueError, match="no training record has class 1 .counted from 0., 3"):
        make_loss(LossConfig(class_weights="balanced"), LabelKind.MULTI, counts, 4)
    make_loss(LossConfig(), LabelKind.MULTI, (3, 0, 1, 0), 4)


@pytest.mark.parametrize(
    ("name", "kind", "allowed"),
    [
        ("softmax", LabelKind.MULTI, "auto, binary_cross_entropy, focal"),
        ("focal", LabelKind.SINGLE, "auto, softmax"),
        ("hinge", LabelKind.MULTI, "auto, binary_cross_entropy, focal"),
    ],
)
def test_a_loss_that_does_not_fit_the_data_is_refused(name, kind, allowed):
    with pytest.raises(ValueError, match=f"loss.name='{name}' does not fit {kind}-label data; allowed: {allowed}."):
        make_loss(LossConfig(name=name), kind, COUNTS, 100)


def test_the_penalty_applies_to_kernels_only():
    model = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
    model.build((None, 8, 8, 1))
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
    with tf.GradientTape() as tape:
        penalty = l2_penalty(model.trainable_variables, 0.01)
    assert float(penalty) == pytest.approx(0.01 * (9 * 2 + 2 * 2))
    for variable, gradient in zip(model.trainable_variables, tape.gradient(penalty, model.trainable_variables)):
        if variable.name.endswith("kernel:0"):
            np.testing.assert_allclose(gradient, 2 * 0.01 * variable)
        else:
            assert gradient is None


def test_no_penalty_and_no_kernel_to_penalize():
    assert float(l2_penalty([tf.Variable([3.0], name="kernel")], 0.0)) == 0
    with pytest.raises(ValueError, match="loss.l2=0.1: the model has no kernel"):
        l2_penalty([tf.Variable([3.0], name="bias")], 0.1)


@pytest.mark.parametrize("name", ["wide_resnet_eca_b0", "vit_20", "mlp_mixer_tiny", "lambda_resnet"])
def test_weights_of_several_dimensions_are_kernels_except_biases_of_several(name):
    model = create_model(name, bands="RGB", num_classes=3)
    for variable in model.trainable_variables:
        last = variable.name.split("/")[-1]
        assert is_kernel(variable) == (len(variable.shape) > 1 and last != "bias:0"), variable.name
