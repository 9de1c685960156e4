"""An evaluation as Markdown: scores, classes, plots, and the meaning of the numbers."""

from __future__ import annotations

from typing import Any

from bigearth_tf.data.label_kind import LabelKind

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


def format_evaluation(evaluation: dict[str, Any], pictures: tuple[str, ...]) -> str:
    """Returns the Markdown text of an evaluation.

    Args:
        evaluation: From `evaluate_table`, with `about`: `model`, `dataset`, `source`, `split` and `thresholds`.
        pictures: File names of the plots in the same folder.
    """
    about, draws = evaluation["about"], evaluation["bootstrap"]
    images = "\n\n".join(f"![{name}]({name})" for name in pictures)
    return f"""# {about["model"]} on {about["dataset"]}, {about["split"]}

{evaluation["num_records"]:,} records of {about["source"]}, {evaluation["labels_per_record"]:.2f} labels per record.
{about["thresholds"]}

In parentheses: the 95 % interval of a bootstrap over patches ({draws["draws"]:,} draws; average precision and AUROC:
{draws["draws_of_average_precision_and_auroc"]:,}). `evaluation.json` has more digits and more scores;
`predictions.parquet` is the table from which all of them are computed.

## Scores

{_format_decisions(evaluation)}

| independent of thresholds | |
|---|---|
{_format_scores(evaluation["ranking"])}
| expected calibration error | {evaluation["calibration"]["expected_calibration_error"]:.4f} |

## Classes

{_format_classes(evaluation)}

{images}

## What the numbers mean

- A ratio 0 / 0, such as the F1 of a class that no record has and that is never predicted, counts as 0, also in macro
  averages.
- The average precision of a class without records, and the AUROC of a class that no record or every record has, have no
  value and are not part of macro averages.
{_MULTI_NOTES if evaluation["label_kind"] == LabelKind.MULTI else _SINGLE_NOTES}"""


def _format_decisions(evaluation: dict[str, Any]) -> str:
    multi, decisions = evaluation["label_kind"] == LabelKind.MULTI, evaluation["decisions"]
    heads = [_COLUMNS[kind] if multi else "most probable class" for kind in decisions]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in decisions["fixed"]["scores"]:
        cells = (_format_score(decision["scores"][name]) for decision in decisions.values())
        lines.append(f"| {_title(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _format_classes(evaluation: dict[str, Any]) -> str:
    tuned = "tuned" in evaluation["decisions"]
    heads = ["class", "records", "precision", "recall", "F1", *(["threshold", "F1, tuned"] if tuned else []),
             "average precision", "AUROC"]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, row in evaluation["classes"].items():
        cells = [name, f"{row['support']:,}", *(f"{row['fixed'][key]['value']:.3f}" for key in ("precision", "recall"))]
        cells.append(_format_score(row["fixed"]["f1"]))
        if tuned:
            cells += [f"{row['tuned']['threshold']:.3f}", _format_score(row["tuned"]["f1"])]
        cells += [_format_score(row[key]) for key in ("average_precision", "auroc")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _format_scores(scores: dict[str, Any]) -> str:
    return "\n".join(f"| {_title(name)} | {_format_score(score)} |" for name, score in scores.items())


def _format_score(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "none"
    return f"{score['value']:.3f}" + (f" ({score['low']:.3f} ... {score['high']:.3f})" if "low" in score else "")


def _title(name: str) -> str:
    text = name.replace("_", " ")
    for short, written in ((" f1", " F1"), (" f2", " F2"), ("auroc", "AUROC"), ("jaccard", "Jaccard")):
        text = text.replace(short, written)
    return text
