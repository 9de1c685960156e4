"""The fitted temperature is the one that made the probabilities wrong; scaling is dividing the logits."""

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.calibration import measure_calibration
from bigearth_tf.evaluation.temperature import fit_temperature, scale_probabilities


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("wrong_by", [0.4, 1.0, 3.0])
def test_multi_label_probabilities_that_are_too_sure_or_not_sure_enough(wrong_by):
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, (4000, 5))
    labels = rng.random(logits.shape) < sigmoid(logits)
    given = sigmoid(logits * wrong_by).astype(np.float32)
    temperature = fit_temperature(labels, given, LabelKind.MULTI)
    assert temperature == pytest.approx(wrong_by, rel=0.05)
    scaled = scale_probabilities(given, temperature, LabelKind.MULTI)
    exact = given < 0.9999  # Beyond, float32 has too few digits for a logit.
    np.testing.assert_allclose(scaled[exact], sigmoid(logits * wrong_by / temperature)[exact], atol=2e-4)
    errors = [measure_calibration(labels.ravel(), p.ravel())["expected_calibration_error"] for p in (given, scaled)]
    assert errors[1] < 0.02
    assert wrong_by == 1.0 or errors[0] > 2 * errors[1]


def test_single_label_probabilities_that_are_too_sure():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (5000, 4))
    right = softmax(logits)
    labels = np.eye(4)[[rng.choice(4, p=row) for row in right]]
    given = softmax(2.5 * logits).astype(np.float32)
    temperature = fit_temperature(labels, given, LabelKind.SINGLE)
    assert temperature == pytest.approx(2.5, rel=0.05)
    scaled = scale_probabilities(given, temperature, LabelKind.SINGLE)
    np.testing.assert_allclose(scaled, softmax(2.5 * logits / temperature), atol=1e-5)
    np.testing.assert_array_equal(scaled.argmax(axis=1), given.argmax(axis=1))


def test_certain_probabilities_and_few_records_give_a_number():
    labels = np.array([[1, 0], [0, 1]])
    for kind in (LabelKind.MULTI, LabelKind.SINGLE):
        assert 0 < fit_temperature(labels, labels.astype(np.float32), kind) < np.inf
