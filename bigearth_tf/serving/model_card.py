"""The model card of an export, as the content of `model_card.json` and as Markdown."""

from __future__ import annotations

from typing import Any

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metric_table import MAIN_SCORES, title_of
from bigearth_tf.runs.work_folder import FinishedRun
from bigearth_tf.serving.exported_model import CARD_NAME

# Fields of a result: the scores, and the origin of the weights. An imported model has no scores.
_SCORES = ("val", "test", "test_classes", "always_most_frequent_labels")
_ORIGIN = ("best_epoch", "train_seconds", "imported_from")
_MEANING = {
    LabelKind.MULTI: "one independent probability a class",
    LabelKind.SINGLE: "of one class each, adding up to 1",
}


def make_card(run: FinishedRun) -> dict[str, Any]:
    """Returns the card of a model: inputs, outputs, classes, scores or origin, data, config and versions."""
    settings, result = run.settings.to_json(), run.result.to_json()
    dataset, label_kind = settings["dataset"], run.settings.dataset.label_kind
    return {
        "model": run.result.model,
        "num_parameters": run.result.num_parameters,
        "inputs": {row["name"]: row for row in dataset.pop("bands")},
        "outputs": {
            "probabilities": f"float32 [N, K], {_MEANING[label_kind]}",
            "class_names": "string [K], in the order of the probabilities",
        },
        "class_names": dataset.pop("class_names"),
        "threshold": label_kind.threshold,
        "dataset": dataset,
        "scores": {key: result[key] for key in _SCORES if key in result},
        **{key: result[key] for key in _ORIGIN if key in result},
        "config": settings["config"],
        "versions": settings["versions"],
        "git_commit": settings["git_commit"],
    }


def format_card(card: dict[str, Any]) -> str:
    """Returns the card as Markdown, for people."""
    inputs = "\n".join(
        f"| `{name}` | {row['sensor']} | [N, {row['size_px']}, {row['size_px']}] | {row['dtype']} | {row['unit']} |"
        for name, row in card["inputs"].items()
    )
    return f"""# {card["model"]}

{card["num_parameters"]:,} parameters, trained on {card["dataset"]["source"]}
(license of the data: {card["dataset"]["licence"]}). `{CARD_NAME}` next to this file has the same for programs,
and more.

{_format_scores(card) if card["scores"] else _format_origin(card["imported_from"])}
Input: one array per band, as stored; the model standardizes and resamples.

| band | sensor | shape | type | unit |
|---|---|---|---|---|
{inputs}

Output: `probabilities` [N, {len(card["class_names"])}] and `class_names`. {_format_decision(card["threshold"])}

{_format_classes(card)}
```python
import tensorflow as tf
model = tf.saved_model.load("this folder").signatures["serving_default"]
answer = model({", ".join(f"{name}=..." for name in card["inputs"])})
```
"""


def _format_decision(threshold: float | None) -> str:
    if threshold is None:
        return "The most probable class is predicted."
    return f"A class is predicted if its probability is at least {threshold}."


def _format_scores(card: dict[str, Any]) -> str:
    test, constant = card["scores"]["test"], card["scores"]["always_most_frequent_labels"]["test"]
    rows = "\n".join(
        # A card is also written for the results of version 0.1.0, which have fewer scores.
        f"| {title_of(name)} | {test[name]:.3f} | {constant[name]:.3f} |"
        for name in MAIN_SCORES
        if name in test and name in constant
    )
    return f"""| test split | this model | always the most frequent labels |
|---|---|---|
{rows}
"""


def _format_origin(origin: dict[str, Any]) -> str:
    """Returns where the weights of an imported model come from."""
    name = f"{origin['published_name']} of " if origin["published_name"] else "a model of "
    remarks = "".join(f"\n- {remark}" for remark in origin["remarks"])
    return f"""This model was not trained here: its weights are those of `{origin["file"]}`, {name}the benchmark
{origin["paper"]} ({origin["repository"]}).
Its scores are not known here: the checkpoint has none, and none were measured.
{remarks}
"""


def _format_classes(card: dict[str, Any]) -> str:
    scores = card["scores"].get("test_classes")
    if not scores:
        rows = [f"| {index} | {name} |" for index, name in enumerate(card["class_names"])]
        return "\n".join(["| index | class |", "|---|---|", *rows, ""])
    rows = [
        f"| {index} | {name} | {scores[name]['f1']:.3f} | {scores[name]['support']:.0f} |"
        for index, name in enumerate(card["class_names"])
    ]
    return "\n".join(["| index | class | test F1 | patches in test |", "|---|---|---|---|", *rows, ""])
