"""Losses: from logits to one number for each record, and a penalty on large kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bigearth_tf.config import AUTO, LossConfig
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.training.resolve_config import AUTO_LOSSES
from bigearth_tf.training.weight_decay import is_kernel


def _binary_cross_entropy(labels: tf.Tensor, logits: tf.Tensor, _: float) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


def _focal(labels: tf.Tensor, logits: tf.Tensor, gamma: float) -> tf.Tensor:
    """Returns -(1 - p)^gamma log p where a class is present, -p^gamma log(1 - p) where it is absent.

    NOTE: without the constant alpha of https://arxiv.org/abs/1708.02002, section 3.1; use `class_weights` instead.
    """
    # Powers are computed from logarithms: 1 - p would round to 0 or 1, where its power has no gradient.
    log_p, log_q = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    return -labels * tf.exp(gamma * log_q) * log_p - (1.0 - labels) * tf.exp(gamma * log_p) * log_q


def _softmax(labels: tf.Tensor, logits: tf.Tensor, _: float) -> tf.Tensor:
    return -labels * tf.nn.log_softmax(logits)


@dataclasses.dataclass(frozen=True)
class _Loss:
    """A row of `_LOSSES`. `terms`: labels, logits [B, K], focal_gamma -> [B, K]; `reduce`: [B, K] -> [B]."""

    label_kind: LabelKind
    terms: Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]
    reduce: Callable[..., tf.Tensor]


_LOSSES = {
    "binary_cross_entropy": _Loss(LabelKind.MULTI, _binary_cross_entropy, tf.reduce_mean),
    "focal": _Loss(LabelKind.MULTI, _focal, tf.reduce_mean),
    "softmax": _Loss(LabelKind.SINGLE, _softmax, tf.reduce_sum),
}


def make_loss(
    config: LossConfig,
    label_kind: LabelKind,
    class_counts: Sequence[int],
    num_records: int,
    class_names: Sequence[str] = (),
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function: labels [B, K], logits [B, K] -> the loss of each record, float32 [B].

    Labels are multi-hot, or one-hot for single-label data, and may be mixed: anything in 0 ... 1.

    Args:
        config: Name and settings of the loss.
        label_kind: As in the manifest.
        class_counts: For each class, the number of training records that have it.
        num_records: Number of training records.
        class_names: For messages; a class without a name is named by its index.

    Raises:
        ValueError: The loss does not fit the data, or a class without training records would need a weight.
    """
    name = AUTO_LOSSES[label_kind] if config.name == AUTO else config.name
    fitting = [key for key, row in _LOSSES.items() if row.label_kind is label_kind]
    if name not in fitting:
        raise ValueError(
            f"loss.name={name!r} does not fit {label_kind}-label data; allowed: auto, {', '.join(fitting)}."
        )
    row, smoothing = _LOSSES[name], config.label_smoothing
    balanced = config.class_weights == "balanced"
    weights = balanced_weights(label_kind, class_counts, num_records, class_names) if balanced else None
    # The label that smoothing moves towards: half present, half absent; or 1 / K of each class.
    even = 0.5 if label_kind is LabelKind.MULTI else 1.0 / len(class_counts)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
        if smoothing:
            labels = (1.0 - smoothing) * labels + smoothing * even
        terms = row.terms(labels, logits, config.focal_gamma)
        return row.reduce(terms if weights is None else terms * weights, axis=-1)

    return loss


def balanced_weights(
    label_kind: LabelKind, class_counts: Sequence[int], num_records: int, class_names: Sequence[str] = ()
) -> np.ndarray:
    """Returns the weight of each class, float32 [K], inverse to its count, scaled so that the mean loss stays similar.

    Single-label: num_records / (K count), the "balanced" of scikit-learn after King and Zeng, "Logistic regression in
    rare event data" (2001): the mean over the records is 1. Multi-label: the same, divided by its mean over the
    classes, because each record has a term of every class. A multi-label weight applies to presence and absence
    equally, so a class converges to the same probability as without weights, and a threshold of 0.5 keeps its meaning.

    Raises:
        ValueError: A class never occurs, so no finite weight balances it.
    """
    names = list(map(repr, class_names)) or [f"{index} (counted from 0)" for index in range(len(class_counts))]
    missing = [name for name, count in zip(names, class_counts) if not count]
    if missing:
        raise ValueError(
            f"loss.class_weights='balanced': no training record has class {', '.join(missing)}. Choose 'none', or "
            "data in which every class occurs."
        )
    weights = num_records / (len(class_counts) * np.asarray(class_counts, np.float64))
    return (weights / weights.mean() if label_kind is LabelKind.MULTI else weights).astype(np.float32)


def l2_penalty(variables: Sequence[Any], factor: float) -> tf.Tensor:
    """Returns factor x the sum of squares of all kernels, a float32 scalar, to add to the mean loss once.

    Raises:
        ValueError: The factor is not 0, but no variable is a kernel.
    """
    if not factor:
        return tf.constant(0.0)
    kernels = [variable for variable in variables if is_kernel(variable)]
    if not kernels:
        raise ValueError(f"loss.l2={factor}: the model has no kernel; set it to 0.")
    return factor * tf.add_n([tf.reduce_sum(tf.square(tf.convert_to_tensor(kernel))) for kernel in kernels])
