"""Temperature scaling: one number that makes the probabilities of a model match how often it is right.

Source: Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, section 4.2. Logits are divided by the temperature:
above 1, probabilities move away from 0 and 1. The order of the classes of a record stays the same.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from bigearth_tf.data.label_kind import LabelKind

# Range of the temperatures that are tried.
_LOWEST, _HIGHEST = 0.05, 20.0
# Probabilities are float32: the smallest above 0, and the largest below 1.
_SMALLEST, _LARGEST = 1e-37, 1 - 2.0**-24


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, label_kind: LabelKind) -> float:
    """Returns the temperature with the lowest cross-entropy on these records.

    Args:
        labels: Multi-hot or one-hot [N, K], of the validation split; never those of the records that will be scored.
        probabilities: [N, K] in 0 ... 1, of temperature 1.
        label_kind: Kind of the labels.
    """
    truth = labels.astype(bool)

    def cross_entropy(log_temperature: float) -> float:
        scaled = scale_probabilities(probabilities, float(np.exp(log_temperature)), label_kind)
        if label_kind is LabelKind.SINGLE:
            return float(-np.log(np.maximum(scaled[truth], _SMALLEST)).mean())
        return float(-np.log(np.maximum(np.where(truth, scaled, 1 - scaled), _SMALLEST)).mean())

    bounds = (np.log(_LOWEST), np.log(_HIGHEST))
    return float(np.exp(optimize.minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def scale_probabilities(probabilities: np.ndarray, temperature: float, label_kind: LabelKind) -> np.ndarray:
    """Returns the probabilities [..., K] of logits divided by the temperature, float64.

    Probabilities that float32 rounds to 1 get the logit of the largest float32 below 1.

    Args:
        probabilities: [..., K] in 0 ... 1, of temperature 1.
        temperature: Above 0.
        label_kind: Kind of the labels: sigmoid or softmax made the probabilities.
    """
    exact = np.clip(probabilities.astype(np.float64), _SMALLEST, _LARGEST)
    if label_kind is LabelKind.SINGLE:
        powers = np.exp(np.log(exact) / temperature)
        return powers / powers.sum(axis=-1, keepdims=True)
    odds = np.exp((np.log(exact) - np.log1p(-exact)) / temperature)
    return odds / (1 + odds)
