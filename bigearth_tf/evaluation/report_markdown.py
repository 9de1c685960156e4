"""An evaluation as Markdown: scores, classes, plots, and the meaning of the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metric_table import RANKINGS, RATIOS, title_of
from bigearth_tf.evaluation.metrics import format_classes_without_records

_COLUMNS = {"fixed": "threshold 0.5", "tuned": "thresholds tuned on validation"}
_MULTI_NOTES = """\
- Ranking loss, coverage error and label ranking average precision are means over records; they depend only on the order
  of the classes of a record by probability. For ranking loss, coverage error and Hamming loss, lower is better.
- Tuned thresholds maximize the F1 of each class on the validation split, never on the records that are scored.
"""
_SINGLE_NOTES = """\
- The most probable class is predicted: there is no threshold. Precision, recall and F1 of a class are those of this
  class against all others.
"""


def format_evaluation(evaluation: dict[str, Any], pictures: Sequence[str]) -> str:
    """Returns the Markdown text of an evaluation.

    Args:
        evaluation: From `evaluate_table`, with `about`: `model`, `dataset`, `source`, `split` and `thresholds`.
        pictures: File names of the plots in the same folder, as PNG; each is also there as PDF.
    """
    about, draws = evaluation["about"], evaluation["bootstrap"]
    images = "\n\n".join(f"![{name}]({name})" for name in pictures)
    vectors = ", ".join(f"[{PurePath(name).stem}.pdf]({PurePath(name).stem}.pdf)" for name in pictures)
    return f"""# {about["model"]} on {about["dataset"]}, {about["split"]}

{evaluation["num_records"]:,} records of {about["source"]}, {evaluation["labels_per_record"]:.2f} labels per record.
{about["thresholds"]}

In parentheses: the 95 % interval of a bootstrap over patches ({draws["draws"]:,} draws; average precision and AUROC:
{draws["draws_of_average_precision_and_auroc"]:,}). `evaluation.json` has more digits and more scores;
`predictions.parquet` is the table from which all of them are computed.

## Scores

{_format_missing_classes(evaluation)}{_format_decisions(evaluation)}

| independent of thresholds | |
|---|---|
{_format_scores(evaluation["ranking"])}
{_format_calibration(evaluation)}

## Classes

{_format_classes(evaluation)}

{images}

The same as vector graphics: {vectors}

## What the numbers mean

- A ratio 0 / 0, such as the F1 of a class that no record has and that is never predicted, counts as 0.
{_format_averages(evaluation)}
- The average precision of a class without records, and the AUROC of a class that no record or every record has, have no
  value and are not part of macro averages.
- A draw of the bootstrap may lack a rare class. It then has no part in the intervals of that class, and its macro
  averages are those over the classes that it contains.
{_MULTI_NOTES if evaluation["label_kind"] == LabelKind.MULTI else _SINGLE_NOTES}"""


def _format_decisions(evaluation: dict[str, Any]) -> str:
    multi, decisions = evaluation["label_kind"] == LabelKind.MULTI, evaluation["decisions"]
    heads = [_COLUMNS[kind] if multi else "most probable class" for kind in decisions]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in decisions["fixed"]["scores"]:
        cells = (_format_score(decision["scores"][name]) for decision in decisions.values())
        lines.append(f"| {title_of(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _format_missing_classes(evaluation: dict[str, Any]) -> str:
    sentence = format_classes_without_records(
        evaluation["classes_without_records"], len(evaluation["classes"]), f"the split {evaluation['about']['split']}"
    )
    names = "; ".join(evaluation["classes_without_records"])
    return f"{sentence} Without records: {names}.\n\n" if sentence else ""


def _format_averages(evaluation: dict[str, Any]) -> str:
    return "\n".join(f"- {name.replace('macro_present', 'macro (classes with records)')}: {meaning}."
                     for name, meaning in evaluation["averages"].items())  # fmt: skip


def _format_classes(evaluation: dict[str, Any]) -> str:
    """Returns two tables, because one with all columns is too wide for a phone."""
    tuned = "tuned" in evaluation["decisions"]
    ratios = [name for name, ratio in RATIOS.items() if ratio.by_class and name != "f1"]
    first, second = [], []
    for name, row in evaluation["classes"].items():
        cells = [name, f"{row['support']:,}", _format_score(row["fixed"]["f1"])]
        first.append(cells + ([f"{row['tuned']['threshold']:.3f}", _format_score(row["tuned"]["f1"])] if tuned else []))
        values = [f"{row['fixed'][ratio]['value']:.3f}" for ratio in ratios]
        second.append([name, *values, *(_format_score(row[key]) for key in RANKINGS)])
    titles = ["class", *(RATIOS[name].title for name in ratios), *(metric.title for metric in RANKINGS.values())]
    heads = ["class", "records", "F1", *(["threshold", "F1, tuned"] if tuned else [])]
    return f"{_format_table(heads, first)}\n\n{_format_table(titles, second)}"


def _format_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format_calibration(evaluation: dict[str, Any]) -> str:
    calibration = evaluation["calibration"]
    rows = [f"| expected calibration error | {calibration['expected_calibration_error']:.4f} |"]
    if "scaled" in calibration:
        scaled = calibration["scaled"]
        rows.append(
            f"| the same with temperature {scaled['temperature']:.3f}, fitted on {evaluation['fitted']['split']} | "
            f"{scaled['expected_calibration_error']:.4f} |"
        )
    return "\n".join(rows)


def _format_scores(scores: dict[str, Any]) -> str:
    return "\n".join(f"| {title_of(name)} | {_format_score(score)} |" for name, score in scores.items())


def _format_score(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "none"
    return f"{score['value']:.3f}" + (f" ({score['low']:.3f} ... {score['high']:.3f})" if "low" in score else "")
