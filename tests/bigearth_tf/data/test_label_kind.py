"""The two kinds of labels: stored values, decision rules, and scores."""

import json

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind

PROBABILITIES = np.float32([[0.5, 0.4, 0.1], [0.2, 0.4, 0.4], [0.9, 0.8, 0.7]])


def test_the_values_are_those_that_files_and_flags_have():
    assert [json.dumps(kind) for kind in LabelKind] == ['"multi"', '"single"']
    assert [f"{kind}, {kind!s}" for kind in LabelKind] == ["multi, multi", "single, single"]
    assert LabelKind("multi") is LabelKind.MULTI
    with pytest.raises(ValueError, match="'both' is not a valid LabelKind"):
        LabelKind("both")


def test_multi_label_data_have_thresholds():
    decided = LabelKind.MULTI.decide(PROBABILITIES)
    assert decided.astype(int).tolist() == [[1, 0, 0], [0, 0, 0], [1, 1, 1]]
    decided = LabelKind.MULTI.decide(PROBABILITIES, np.float32([0.6, 0.4, 0.75]))
    assert decided.astype(int).tolist() == [[0, 1, 0], [0, 1, 0], [1, 1, 0]]
    assert LabelKind.MULTI.threshold == 0.5


def test_single_label_data_have_the_most_probable_class_and_of_equal_ones_the_first():
    assert LabelKind.SINGLE.decide(PROBABILITIES).astype(int).tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert LabelKind.SINGLE.threshold is None


def test_each_kind_has_its_scores_and_its_activation():
    assert (LabelKind.MULTI.activation, LabelKind.SINGLE.activation) == ("sigmoid", "softmax")
    assert (LabelKind.MULTI.exact_score, LabelKind.SINGLE.exact_score) == ("subset_accuracy", "accuracy")
    assert set(LabelKind.SINGLE.averages) < set(LabelKind.MULTI.averages)
