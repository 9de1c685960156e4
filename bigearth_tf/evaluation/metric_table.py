"""The table of metrics: every score that is computed, stored, reported, compared, or selects a checkpoint.

A metric is a row of one of three tables, by what it is computed from, and of no other place:

- `RATIOS`: the counts of decisions, of one class, or averaged as `LabelKind.averages` says;
- `RANKINGS`: the records by descending probability, of one class ("class"), of all classes together ("micro"), or the
  mean over the classes for which it is defined ("macro");
- `DECISION_METRICS` and `RANK_METRICS`: a value of each record, whose mean over the records is the score.

`list_metrics` lists the resulting scores by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bigearth_tf.data.label_kind import LabelKind

# The scores of a summary, of those that the kind of labels has.
MAIN_SCORES = ("micro_f1", "accuracy", "macro_f1", "macro_present_f1")
# How each average treats the classes; the averages of a kind of labels are `LabelKind.averages`.
AVERAGES = {
    "micro": "over all pairs of a record and a class together",
    "macro": "mean over all classes; a class without records counts as 0",
    "macro_present": "mean over the classes that have records",
    "weighted": "mean over the classes, each weighted by its number of records",
    "samples": "mean over the records",
}
_PREFIXES = {"macro_present": "macro (classes with records)"}
_RANKING_AVERAGES = ("micro", "macro")


class Counts(NamedTuple):
    """Numbers of records (of a class) or of classes (of a record)."""

    true_positive: np.ndarray
    predicted: np.ndarray
    present: np.ndarray


class Ratio(NamedTuple):
    """True positives / `denominator(counts)`, where 0 / 0 counts as 0.

    `by_class` says whether the table of classes in a report shows it.
    """

    title: str
    denominator: Callable[[Counts], np.ndarray]
    by_class: bool = True


class Tally(NamedTuple):
    """Numbers of pairs of a record and a class, float64 [T], down to each of T probabilities in descending order.

    `predicted` counts all pairs with at least that probability, `hits` those whose record has the class.
    """

    predicted: np.ndarray
    hits: np.ndarray


class RankingMetric(NamedTuple):
    """A score of a ranking; `compute` returns NaN where it has no value.

    `reasons` say why it has no value, for one class ("class") and for each average. `every_epoch` says whether it is
    computed after every epoch, and may select a checkpoint.
    """

    title: str
    compute: Callable[[Tally], float]
    reasons: dict[str, str]
    every_epoch: bool = False


class ClassRanks(NamedTuple):
    """For each record and class [N, K]: how many classes are at least as probable.

    `among_all` counts all classes, `among_present` the classes of the record, and `truth` is bool.
    """

    among_all: np.ndarray
    among_present: np.ndarray
    truth: np.ndarray


class RecordMetric(NamedTuple):
    """The mean over records of `compute`, which returns a value for each record [N].

    `compute` takes truth and predictions, bool [N, K], in `DECISION_METRICS`, and `ClassRanks` in `RANK_METRICS`.
    """

    title: str
    compute: Callable[..., np.ndarray]
    lower_is_better: bool = False
    label_kinds: tuple[LabelKind, ...] = tuple(LabelKind)


# F_b is (1 + b^2) TP / (predicted + b^2 present).
RATIOS: dict[str, Ratio] = {
    "precision": Ratio("precision", lambda counts: counts.predicted),
    "recall": Ratio("recall", lambda counts: counts.present),
    "f1": Ratio("F1", lambda counts: (counts.predicted + counts.present) / 2),
    "f2": Ratio("F2", lambda counts: (counts.predicted + 4 * counts.present) / 5, by_class=False),
    "jaccard": Ratio(
        "Jaccard", lambda counts: counts.predicted + counts.present - counts.true_positive, by_class=False
    ),
}


def _average_precision(tally: Tally) -> float:
    present = tally.hits[-1]
    if not present:
        return np.nan
    return float(np.sum(np.diff(tally.hits, prepend=0) * tally.hits / np.maximum(tally.predicted, 1)) / present)


def _auroc(tally: Tally) -> float:
    """Returns the share of pairs of a present and an absent one in the right order; equal probabilities count half."""
    present, absent = tally.hits[-1], tally.predicted[-1] - tally.hits[-1]
    if not present or not absent:
        return np.nan
    new_hits, new_misses = (np.diff(counts, prepend=0) for counts in (tally.hits, tally.predicted - tally.hits))
    return float(np.sum(new_misses * (tally.hits - new_hits / 2)) / (present * absent))


RANKINGS: dict[str, RankingMetric] = {
    "average_precision": RankingMetric(
        "average precision",
        _average_precision,
        {
            "class": "no record has this class",
            "micro": "no record has any class",
            "macro": "no record has any class",
        },
        every_epoch=True,
    ),
    "auroc": RankingMetric(
        "AUROC",
        _auroc,
        {
            "class": "none or all of the records have this class",
            "micro": "the records have no class, or each record has every class",
            "macro": "no class has both a record with it and a record without it",
        },
    ),
}

DECISION_METRICS: dict[str, RecordMetric] = {
    "hamming_loss": RecordMetric(
        "Hamming loss",
        lambda truth, predicted: (truth != predicted).mean(axis=1),
        lower_is_better=True,
        label_kinds=(LabelKind.MULTI,),
    ),
    **{
        kind.exact_score: RecordMetric(
            kind.exact_score.replace("_", " "),
            lambda truth, predicted: (truth == predicted).all(axis=1),
            label_kinds=(kind,),
        )
        for kind in LabelKind
    },
}


def _ranking_loss(ranks: ClassRanks) -> np.ndarray:
    """Returns the share of pairs of a present and an absent class in the wrong order; 0 if there are no such pairs."""
    absent_above = np.where(ranks.truth, ranks.among_all - ranks.among_present, 0).sum(axis=1)
    present = ranks.truth.sum(axis=1)
    return absent_above / np.maximum(present * (ranks.truth.shape[1] - present), 1)


def _coverage_error(ranks: ClassRanks) -> np.ndarray:
    """Returns how many of the most probable classes include all present ones; 0 if none is present."""
    return np.where(ranks.truth, ranks.among_all, 0).max(axis=1)


def _label_ranking_average_precision(ranks: ClassRanks) -> np.ndarray:
    """Returns the mean precision down to each present class; 1 if none is present."""
    present = ranks.truth.sum(axis=1)
    total = np.where(ranks.truth, ranks.among_present / ranks.among_all, 0).sum(axis=1)
    return np.where(present > 0, total / np.maximum(present, 1), 1)


# They have no value if there is only one class.
RANK_METRICS: dict[str, RecordMetric] = {
    "ranking_loss": RecordMetric("ranking loss", _ranking_loss, lower_is_better=True),
    "coverage_error": RecordMetric("coverage error", _coverage_error, lower_is_better=True),
    "label_ranking_average_precision": RecordMetric(
        "label ranking average precision", _label_ranking_average_precision
    ),
}


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score by its name, such as "macro_f1".

    `row` is the name of its row, such as "f1", and `average` that of its average; None for a mean over records.
    `of_decisions` says whether it depends on thresholds, and `reason` why it may have no value.
    """

    name: str
    title: str
    row: str
    average: str | None
    of_decisions: bool
    every_epoch: bool
    lower_is_better: bool = False
    reason: str = ""


def list_metrics(label_kind: LabelKind) -> tuple[Metric, ...]:
    """Returns every score of a kind of labels, in the order in which scores are stored."""
    ratios = [
        Metric(f"{average}_{row}", f"{_PREFIXES.get(average, average)} {ratio.title}", row, average, True, True)
        for average in label_kind.averages
        for row, ratio in RATIOS.items()
    ]
    rankings = [
        Metric(
            f"{average}_{row}",
            f"{average} {metric.title}",
            row,
            average,
            False,
            metric.every_epoch,
            reason=metric.reasons[average],
        )
        for row, metric in RANKINGS.items()
        for average in _RANKING_AVERAGES
    ]
    of_records = [
        Metric(row, metric.title, row, None, of_decisions, of_decisions, metric.lower_is_better, reason)
        for table, of_decisions, reason in (
            (DECISION_METRICS, True, ""),
            (RANK_METRICS, False, "there is one class only"),
        )
        for row, metric in table.items()
        if label_kind in metric.label_kinds
    ]
    return (*ratios, *rankings, *of_records)


def selection_scores(label_kind: LabelKind) -> tuple[str, ...]:
    """Returns the names of the scores that may select the best checkpoint: those for which higher is better."""
    return tuple(
        metric.name for metric in list_metrics(label_kind) if metric.every_epoch and not metric.lower_is_better
    )


def title_of(name: str) -> str:
    """Returns the title of a score by its name."""
    return next(metric.title for kind in LabelKind for metric in list_metrics(kind) if metric.name == name)
