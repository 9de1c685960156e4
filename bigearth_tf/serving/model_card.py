"""The model card of an export, as the content of `model_card.json` and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from bigearth_tf.data.datasets import find_level
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.metric_table import MAIN_SCORES, title_of
from bigearth_tf.evaluation.metrics import format_classes_without_records
from bigearth_tf.runs.work_folder import FinishedRun
from bigearth_tf.serving.decisions import Decisions
from bigearth_tf.serving.exported_model import CARD_NAME
from bigearth_tf.serving.units import LEVEL_MEANINGS

# Fields of a result: the scores, and the origin of the weights. An imported model has no scores.
_SCORES = ("val", "test", "test_classes", "always_most_frequent_labels", "classes_without_records", "averages")
_ORIGIN = ("best_epoch", "train_seconds", "imported_from")
# The element of a product's metadata that states the offset:
# https://sentinels.copernicus.eu/web/sentinel/-/copernicus-sentinel-2-major-products-upgrade-upcoming
_OFFSET_NAMES = {"L2A": "BOA_ADD_OFFSET", "L1C": "RADIO_ADD_OFFSET"}
# All data sets were published before baseline 04.00, or without its offset.
_DN_OFFSET = 0
_MEANING = {
    LabelKind.MULTI: "one independent probability a class",
    LabelKind.SINGLE: "of one class each, adding up to 1",
}


def make_card(run: FinishedRun, decisions: Decisions) -> dict[str, Any]:
    """Returns the card of a model: inputs, outputs, classes, scores or origin, data, config and versions."""
    settings, result = run.settings.to_json(), run.result.to_json()
    dataset, label_kind = settings["dataset"], run.settings.dataset.label_kind
    return {
        "model": run.result.model,
        "num_parameters": run.result.num_parameters,
        "inputs": {row["name"]: row for row in dataset.pop("bands")},
        **_describe_sentinel2(run),
        "outputs": {
            "probabilities": f"float32 [N, K], {_MEANING[label_kind]}",
            "predicted": "bool [N, K], whether a class is predicted",
            "class_names": "string [K], in the order of the probabilities",
        },
        "class_names": dataset.pop("class_names"),
        "threshold": label_kind.threshold,
        **_describe_decisions(decisions, run.class_names),
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

{_format_sentinel2(card)}Output: `probabilities` [N, {len(card["class_names"])}], `predicted` and `class_names`.
{_format_decision(card)}

{_format_classes(card)}
## Use

It needs TensorFlow only:

```python
{_format_snippet(card)}```
"""


def _describe_sentinel2(run: FinishedRun) -> dict[str, Any]:
    """Returns the field `sentinel2` of a card; nothing for a model that takes no such band."""
    if all(band.sensor != "S2" for band in run.bands):
        return {}
    return {"sentinel2": {"level": find_level(run.settings.dataset.name), "dn_offset": _DN_OFFSET}}


def _format_sentinel2(card: dict[str, Any]) -> str:
    if "sentinel2" not in card:
        return ""
    level = card["sentinel2"]["level"]
    described = f"Level-{level[1:]} ({LEVEL_MEANINGS[level]})" if level else f"the level of {card['dataset']['name']}"
    stated = f"`{_OFFSET_NAMES[level]}` in their metadata states" if level else "their metadata state"
    text = (
        f"Sentinel-2 bands must be of {described}, as digital numbers without an offset: DN = reflectance x 10,000. "
        f"Products of processing baseline 04.00 and later (since 25 January 2022) have an offset, which {stated}, "
        "usually -1000: add it to the DN, and set what becomes negative to 0, before you predict."
    )
    return textwrap.fill(text, 100) + "\n\n"


def _format_snippet(card: dict[str, Any]) -> str:
    """Returns a Python program that runs as it is in the folder of the export."""
    zeros = "\n".join(
        f'    "{name}": tf.zeros([1, {row["size_px"]}, {row["size_px"]}], tf.{row["dtype"]}),'
        for name, row in card["inputs"].items()
    )
    return f"""import tensorflow as tf

model = tf.saved_model.load(".")  # The folder of this file. Keep `model`: it owns the weights.
inputs = model.signatures["serving_default"].structured_input_signature[1]


def predict(bands):
    for name, spec in inputs.items():
        tf.debugging.assert_type(bands[name], spec.dtype, f"band {{name}}:")
    answer = model.signatures["serving_default"](**{{name: bands[name] for name in inputs}})
    return answer["probabilities"]


bands = {{  # Your pixels, [N, size, size] per band.
{zeros}
}}
print(predict(bands))
print(tf.function(predict)(bands))  # The same in a graph,
print(next(iter(tf.data.Dataset.from_tensors(bands).map(predict))))  # and in a pipeline.
"""


def _describe_decisions(decisions: Decisions, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns the fields `temperature`, `thresholds` (by class) and `fitted_on` of a card, as far as they apply."""
    if decisions.origin is None:
        return {}
    thresholds = {"thresholds": dict(zip(class_names, decisions.thresholds))} if decisions.thresholds else {}
    return {"temperature": decisions.temperature, **thresholds, "fitted_on": decisions.origin}


def _format_decision(card: dict[str, Any]) -> str:
    if "thresholds" in card:
        decision = "A class is predicted if its probability is at least its threshold, in the table below."
    elif card["threshold"] is None:
        decision = "The most probable class is predicted."
    else:
        decision = f"A class is predicted if its probability is at least {card['threshold']}."
    if "fitted_on" not in card:
        return decision
    origin, temperature = card["fitted_on"], card["temperature"]
    scaled = f"The logits were divided by the temperature {temperature:.3f}. " if temperature != 1 else ""
    return f"""{decision}
{scaled}Fitted on {origin["num_records"]:,} records of {origin["dataset"]}, {origin["split"]}."""


def _format_scores(card: dict[str, Any]) -> str:
    test, constant = card["scores"]["test"], card["scores"]["always_most_frequent_labels"]["test"]
    rows = "\n".join(
        # A card is also written for the results of version 0.1.0, which have fewer scores.
        f"| {title_of(name)} | {test[name]:.3f} | {constant[name]:.3f} |"
        for name in MAIN_SCORES
        if name in test and name in constant
    )
    # From the supports, which the results of version 0.1.0 have, too.
    missing = [name for name, row in card["scores"]["test_classes"].items() if not row["support"]]
    note = format_classes_without_records(missing, len(card["class_names"]), "test")
    return f"""| test split | this model | always the most frequent labels |
|---|---|---|
{rows}
""" + (f"\n{textwrap.fill(note, 100)}\n" if note else "")


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
    names = card["class_names"]
    columns: dict[str, list[str]] = {"index": [str(index) for index in range(len(names))], "class": names}
    if "thresholds" in card:
        columns["threshold"] = [f"{card['thresholds'][name]:.3f}" for name in names]
    scores = card["scores"].get("test_classes")
    if scores:
        columns["test F1 at 0.5" if "thresholds" in card else "test F1"] = [f"{scores[n]['f1']:.3f}" for n in names]
        columns["patches in test"] = [f"{scores[name]['support']:.0f}" for name in names]
    rows = [f"| {' | '.join(cells)} |" for cells in zip(*columns.values())]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows, ""])
