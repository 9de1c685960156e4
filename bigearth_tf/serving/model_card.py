"""The model card of an export, as JSON and as Markdown."""

from __future__ import annotations

from typing import Any

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metrics import HEADLINES
from bigearth_tf.runs.work_folder import FinishedRun

CARD_NAME = "model_card.json"


# What the result of a run holds of its scores, and of where its weights come from. An imported model has no scores.
_SCORES = ("val", "test", "test_classes", "always_most_frequent_labels")


_MEANING = {
    LabelKind.MULTI: "one independent probability a class",
    LabelKind.SINGLE: "of one class each, adding up to 1",
}


_ORIGIN = ("best_epoch", "train_seconds", "imported_from")


def model_card(run: FinishedRun) -> dict[str, Any]:
    """Returns what a user must know of an exported model: inputs, classes, scores or origin, data, config, versions."""
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


def _card_for_people(card: dict[str, Any]) -> str:
    """Returns the card as Markdown: what goes in, what comes out, how good it is."""
    inputs = "\n".join(
        f"| `{name}` | {row['sensor']} | [N, {row['size_px']}, {row['size_px']}] | {row['dtype']} | {row['unit']} |"
        for name, row in card["inputs"].items()
    )
    return f"""# {card["model"]}

{card["num_parameters"]:,} parameters, trained on {card["dataset"]["source"]}
(licence of the data: {card["dataset"]["licence"]}). `{CARD_NAME}` beside this file says the same to programs, and more.

{_scores_for_people(card) if card["scores"] else _origin_for_people(card["imported_from"])}
Input: one array a band, as stored; standardising and resampling happen inside.

| band | sensor | shape | type | unit |
|---|---|---|---|---|
{inputs}

Output: `probabilities` [N, {len(card["class_names"])}] and `class_names`. {_decision_for_people(card["threshold"])}

{_classes_for_people(card)}
```python
import tensorflow as tf
model = tf.saved_model.load("this folder").signatures["serving_default"]
answer = model({", ".join(f"{name}=..." for name in card["inputs"])})
```
"""


def _decision_for_people(threshold: float | None) -> str:
    return f"A label is given from {threshold} on." if threshold else "The likeliest class is the answer."


def _scores_for_people(card: dict[str, Any]) -> str:
    test, constant = card["scores"]["test"], card["scores"]["always_most_frequent_labels"]["test"]
    rows = "\n".join(
        f"| {title} | {test[name]:.3f} | {constant[name]:.3f} |" for name, title in HEADLINES.items() if name in test
    )
    return f"""| test split | this model | always the most frequent labels |
|---|---|---|
{rows}
"""


def _origin_for_people(origin: dict[str, Any]) -> str:
    """Returns where weights come from that were not trained here."""
    named = f"{origin['published_name']} of " if origin["published_name"] else "a model of "
    remarks = "".join(f"\n- {remark}" for remark in origin["remarks"])
    return f"""It was not trained here: its weights are those of `{origin["file"]}`, {named}the benchmark
{origin["paper"]} ({origin["repository"]}).
Its scores are not known here: the checkpoint holds none, and none was measured.
{remarks}
"""


def _classes_for_people(card: dict[str, Any]) -> str:
    scores = card["scores"].get("test_classes")
    if not scores:
        rows = [f"| {index} | {name} |" for index, name in enumerate(card["class_names"])]
        return "\n".join(["| index | class |", "|---|---|", *rows, ""])
    rows = [
        f"| {index} | {name} | {scores[name]['f1']:.3f} | {scores[name]['support']:.0f} |"
        for index, name in enumerate(card["class_names"])
    ]
    return "\n".join(["| index | class | test F1 | patches in test |", "|---|---|---|---|", *rows, ""])
