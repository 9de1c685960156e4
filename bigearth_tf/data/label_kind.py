"""The two kinds of labels, and what follows from each: activation, decision rule, averages of scores."""

from __future__ import annotations

import enum
from typing import Optional, Union

import numpy as np

THRESHOLD = 0.5


class LabelKind(str, enum.Enum):
    """Whether a record carries any number of classes (`MULTI`) or exactly one (`SINGLE`).

    The values are what manifests, settings and tables of predictions store.
    """

    MULTI = "multi"
    SINGLE = "single"

    def __str__(self) -> str:
        """Returns the stored value."""
        return self.value

    @property
    def activation(self) -> str:
        """Name of the function in `tf.nn` that turns logits [N, K] into probabilities; those of SINGLE add up to 1."""
        return "sigmoid" if self is LabelKind.MULTI else "softmax"

    @property
    def threshold(self) -> Optional[float]:
        """Lowest probability at which a class is predicted; None if the most probable class is predicted."""
        return THRESHOLD if self is LabelKind.MULTI else None

    @property
    def averages(self) -> tuple[str, ...]:
        """Averages of ratios such as F1 that are reported.

        "macro" is over all classes, "macro_present" over those that have records. SINGLE lacks "micro" and "samples":
        where each record gets one class, every such ratio is the accuracy.
        """
        macros = ("macro", "macro_present", "weighted")
        return ("micro", *macros, "samples") if self is LabelKind.MULTI else macros

    @property
    def exact_score(self) -> str:
        """Name of the score that is the share of records with every class right."""
        return "subset_accuracy" if self is LabelKind.MULTI else "accuracy"

    def decide(self, probabilities: np.ndarray, threshold: Union[float, np.ndarray] = THRESHOLD) -> np.ndarray:
        """Returns the predicted classes, bool [N, K].

        MULTI predicts every class whose probability is at least its threshold; SINGLE predicts the most probable class,
        the first of several with equal probability.

        Args:
            probabilities: [N, K] in 0 ... 1.
            threshold: One for all classes or [K]. SINGLE ignores it.
        """
        if self is LabelKind.MULTI:
            return probabilities >= threshold
        return np.arange(probabilities.shape[1]) == np.argmax(probabilities, axis=1)[:, np.newaxis]
