"""How does an evaluation read? As Markdown: the scores, the classes, the pictures, and what the numbers mean."""

from __future__ import annotations

from typing import Any

from bigearth_tf.data.label_kind import LabelKind

_COLUMNS = {"fixed": "threshold 0.5", "tuned": "thresholds tuned on validation"}


def evaluation_text(evaluation: dict[str, Any], pictures: tuple[str, ...]) -> str:
    """Returns the Markdown text of an evaluation that says where it comes from (`about`).

    Args:
        evaluation: As of `evaluate_table`, with `about`: `model`, `dataset`, `source` and `split`.
        pictures: Names of files beside the text.
    """
    about, multi = evaluation["about"], evaluation["label_kind"] == LabelKind.MULTI
    draws = evaluation["bootstrap"]
    images = "\n\n".join(f"![{name}]({name})" for name in pictures)
    return f"""# {about["model"]} on {about["dataset"]}, {about["split"]}

{evaluation["num_records"]:,} records of {about["source"]}, {evaluation["labels_per_record"]:.2f} labels a record.
{about["thresholds"]}

In brackets: the 95 % interval of a bootstrap over patches ({draws["draws"]:,} draws; average precision and AUROC:
{draws["draws_of_average_precision_and_auroc"]:,}). `evaluation.json` has more digits and more scores,
`predictions.parquet` what all of it is computed from.

## Scores

{_decision_table(evaluation)}

| of the order of probabilities | |
|---|---|
{_rows(evaluation["ranking"])}
| expected calibration error | {evaluation["calibration"]["expected_calibration_error"]:.4f} |

## Classes

{_class_table(evaluation)}

{images}

## What the numbers mean

- A ratio of 0 by 0 counts as 0: a class that no record has has F1 0, and counts so in macro averages.
- Average precision of a class that no record has, and AUROC of one that none or all have, have no value and are left
  out of the macro average.
{MULTI_NOTES if multi else SINGLE_NOTES}"""


MULTI_NOTES = """\
- Ranking loss, coverage error and label ranking average precision are means over records, of the order of their
  classes. Less is better of the first two and of the Hamming loss.
- Tuned thresholds maximise the F1 of each class on the validation split, never on the records that are scored.
"""
SINGLE_NOTES = """\
- The likeliest class is predicted: no threshold matters. Precision, recall and F1 of a class are those of it against
  all others.
"""


def _decision_table(evaluation: dict[str, Any]) -> str:
    multi, decisions = evaluation["label_kind"] == LabelKind.MULTI, evaluation["decisions"]
    heads = [_COLUMNS[kind] if multi else "likeliest class" for kind in decisions]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in decisions["fixed"]["scores"]:
        cells = (_cell(decision["scores"][name]) for decision in decisions.values())
        lines.append(f"| {_words(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _class_table(evaluation: dict[str, Any]) -> str:
    kinds = list(evaluation["decisions"])
    tuned = "tuned" in kinds
    heads = ["class", "records", "precision", "recall", "F1", *(["threshold", "F1, tuned"] if tuned else []),
             "average precision", "AUROC"]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, row in evaluation["classes"].items():
        cells = [name, f"{row['support']:,}", *(f"{row['fixed'][key]['value']:.3f}" for key in ("precision", "recall"))]
        cells.append(_cell(row["fixed"]["f1"]))
        if tuned:
            cells += [f"{row['tuned']['threshold']:.3f}", _cell(row["tuned"]["f1"])]
        cells += [_cell(row[key]) for key in ("average_precision", "auroc")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rows(scores: dict[str, Any]) -> str:
    return "\n".join(f"| {_words(name)} | {_cell(score)} |" for name, score in scores.items())


def _cell(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "none"
    return f"{score['value']:.3f}" + (f" ({score['low']:.3f} ... {score['high']:.3f})" if "low" in score else "")


def _words(name: str) -> str:
    text = name.replace("_", " ")
    for short, written in ((" f1", " F1"), (" f2", " F2"), ("auroc", "AUROC"), ("jaccard", "Jaccard")):
        text = text.replace(short, written)
    return text
