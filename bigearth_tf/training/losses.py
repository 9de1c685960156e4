"""What does a model minimise? A loss from logits, one number a record, and a penalty on large kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bigearth_tf.config import LossConfig
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.training.weight_decay import is_kernel


def _binary_cross_entropy(labels: tf.Tensor, logits: tf.Tensor, _: float) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


def _focal(labels: tf.Tensor, logits: tf.Tensor, gamma: float) -> tf.Tensor:
    """Returns -(1 - p)^gamma log p where a class is present, -p^gamma log(1 - p) where it is absent.

    NOTE: without the constant alpha of https://arxiv.org/abs/1708.02002, section 3.1: `class_weights` has its place.
    """
    # Powers as products of logarithms: 1 - p itself would round to 0 or 1, and its power have no gradient there.
    log_p, log_q = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    return -labels * tf.exp(gamma * log_q) * log_p - (1.0 - labels) * tf.exp(gamma * log_p) * log_q


def _softmax(labels: tf.Tensor, logits: tf.Tensor, _: float) -> tf.Tensor:
    return -labels * tf.nn.log_softmax(logits)


@dataclasses.dataclass(frozen=True)
class _Loss:
    """A row of the table. `terms`: labels, logits [B, K], focal_gamma -> [B, K]; `reduce` makes them [B]."""

    label_kind: LabelKind
    terms: Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]
    reduce: Callable[..., tf.Tensor]


_LOSSES = {
    "binary_cross_entropy": _Loss(LabelKind.MULTI, _binary_cross_entropy, tf.reduce_mean),
    "focal": _Loss(LabelKind.MULTI, _focal, tf.reduce_mean),
    "softmax": _Loss(LabelKind.SINGLE, _softmax, tf.reduce_sum),
}


def make_loss(
    config: LossConfig, label_kind: LabelKind, class_counts: Sequence[int], num_records: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function: labels [B, K], logits [B, K] -> the loss of each record, float32 [B].

    Labels are multi-hot, or one-hot for single-label data, and may be mixed: anything in 0 ... 1.

    Args:
        config: What to minimise.
        label_kind: As of the manifest.
        class_counts: For each class, the number of training records that carry it.
        num_records: Number of training records.

    Raises:
        ValueError: The loss does not fit the data, or a class that never occurs would have to be weighed.
    """
    name = config.name
    if name == "auto":
        name = "binary_cross_entropy" if label_kind is LabelKind.MULTI else "softmax"
    fitting = [key for key, row in _LOSSES.items() if row.label_kind is label_kind]
    if name not in fitting:
        raise ValueError(
            f"loss.name={name!r} does not fit {label_kind}-label data; allowed: auto, {', '.join(fitting)}."
        )
    row, smoothing = _LOSSES[name], config.label_smoothing
    weights = balanced_weights(label_kind, class_counts, num_records) if config.class_weights == "balanced" else None
    # What a smoothed label goes to: half present, half absent; or a K-th of each class.
    even = 0.5 if label_kind is LabelKind.MULTI else 1.0 / len(class_counts)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
        if smoothing:
            labels = (1.0 - smoothing) * labels + smoothing * even
        terms = row.terms(labels, logits, config.focal_gamma)
        return row.reduce(terms if weights is None else terms * weights, axis=-1)

    return loss


def balanced_weights(label_kind: LabelKind, class_counts: Sequence[int], num_records: int) -> np.ndarray:
    """Returns the weight of each class, float32 [K], inverse to its count; with them the mean loss keeps its scale.

    Single-label: num_records / (K count), the "balanced" of scikit-learn after King and Zeng, "Logistic regression in
    rare event data" (2001): the mean over the records is 1. Multi-label: the same, over its mean over the classes,
    since each record has a term of every class. There a weight holds for presence and absence alike, so the
    probability that a class converges to is that without weights, and a threshold of 0.5 keeps its meaning.

    Raises:
        ValueError: A class never occurs, so that no finite weight balances it.
    """
    missing = [index for index, count in enumerate(class_counts) if not count]
    if missing:
        raise ValueError(
            f"loss.class_weights='balanced': no training record carries class {', '.join(map(str, missing))} (counted "
            "from 0). Choose 'none', or data where every class occurs."
        )
    weights = num_records / (len(class_counts) * np.asarray(class_counts, np.float64))
    return (weights / weights.mean() if label_kind is LabelKind.MULTI else weights).astype(np.float32)


def l2_penalty(variables: Sequence[Any], factor: float) -> tf.Tensor:
    """Returns factor x the sum of squares of all kernels, a float32 scalar, to be added to the mean loss once.

    Raises:
        ValueError: There is something to penalise, but no variable is a kernel.
    """
    if not factor:
        return tf.constant(0.0)
    kernels = [variable for variable in variables if is_kernel(variable)]
    if not kernels:
        raise ValueError(f"loss.l2={factor}: the model has no kernel; set it to 0.")
    return factor * tf.add_n([tf.reduce_sum(tf.square(tf.convert_to_tensor(kernel))) for kernel in kernels])
