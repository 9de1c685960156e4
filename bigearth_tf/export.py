"""How does a trained model become a product? A SavedModel that takes raw bands and answers with named land cover.

Its signature `serving_default` takes one array a band, [N, size_px, size_px] in storage type and unit, by band name,
and returns `probabilities` float32 [N, K] and `class_names` string [K]. Using it needs TensorFlow and nothing of this
package.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from bigearth_tf.bands import Band
from bigearth_tf.metrics import THRESHOLD
from bigearth_tf.run_folder import FinishedRun, load_finished_run

CARD_NAME = "model_card.json"


def export_run(workdir: str | os.PathLike, output_dir: str | os.PathLike) -> Path:
    """Writes the best model of a finished run with its model card, and returns the folder.

    Written beside and renamed, so that the folder is whole whenever it is there; an earlier export is replaced.

    Raises:
        FileNotFoundError: The run has not ended.
        ValueError: `output_dir` holds something other than an export.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not (output_dir / CARD_NAME).exists():
        raise ValueError(f"{output_dir}: holds something other than an export. Name another --output_dir.")
    run = load_finished_run(workdir)
    temporary, replaced = (output_dir.with_name(f".{output_dir.name}.{end}") for end in ("tmp", "old"))
    for leftover in (temporary, replaced):  # Of an export that was killed.
        shutil.rmtree(leftover, ignore_errors=True)
    save_model(run.model, run.bands, run.class_names, temporary)
    card = model_card(run)
    (temporary / CARD_NAME).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (temporary / "README.md").write_text(_card_for_people(card), encoding="utf-8")
    if output_dir.exists():
        output_dir.rename(replaced)
    temporary.rename(output_dir)
    shutil.rmtree(replaced, ignore_errors=True)
    return output_dir


def save_model(model: Any, bands: Sequence[Band], class_names: Sequence[str], folder: str | os.PathLike) -> None:
    """Writes the SavedModel of a model `bands -> logits [B, K]` into a new folder."""

    def serve(**pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "probabilities": tf.sigmoid(model(pixels, training=False)),
            "class_names": tf.constant(list(class_names)),
        }

    module = tf.Module()
    module.model = model
    module.serve = tf.function(serve)
    signature = module.serve.get_concrete_function(
        **{band.name: tf.TensorSpec([None, band.size_px, band.size_px], band.dtype, band.name) for band in bands}
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of names and files that concern nobody here.
    tf.saved_model.save(module, os.fspath(folder), signatures=signature)
    logging.set_verbosity(verbosity)


def model_card(run: FinishedRun) -> dict[str, Any]:
    """Returns what a user must know of an exported model: inputs, classes, scores, data, config, versions."""
    dataset = dict(run.settings["dataset"])
    return {
        "model": run.result["model"],
        "num_parameters": run.result["num_parameters"],
        "inputs": {row["name"]: row for row in dataset.pop("bands")},
        "outputs": {
            "probabilities": "float32 [N, K], one independent probability a class",
            "class_names": "string [K], in the order of the probabilities",
        },
        "class_names": dataset.pop("class_names"),
        "threshold": THRESHOLD,
        "dataset": dataset,
        "scores": {key: run.result[key] for key in ("val", "test", "test_classes", "always_most_frequent_labels")},
        "best_epoch": run.result["best_epoch"],
        "train_seconds": run.result["train_seconds"],
        "config": run.settings["config"],
        "versions": run.settings["versions"],
        "git_commit": run.settings["git_commit"],
    }


def _card_for_people(card: dict[str, Any]) -> str:
    """Returns the card as Markdown: what goes in, what comes out, how good it is."""
    test, constant = card["scores"]["test"], card["scores"]["always_most_frequent_labels"]["test"]
    inputs = "\n".join(
        f"| `{name}` | {row['sensor']} | [N, {row['size_px']}, {row['size_px']}] | {row['dtype']} | {row['unit']} |"
        for name, row in card["inputs"].items()
    )
    classes = "\n".join(
        f"| {index} | {name} | {card['scores']['test_classes'][name]['f1']:.3f} "
        f"| {card['scores']['test_classes'][name]['support']:.0f} |"
        for index, name in enumerate(card["class_names"])
    )
    return f"""# {card["model"]}

{card["num_parameters"]:,} parameters, trained on {card["dataset"]["source"]}
(licence of the data: {card["dataset"]["licence"]}). `{CARD_NAME}` beside this file says the same to programs, and more.

| test split | this model | always the most frequent labels |
|---|---|---|
| micro F1 | {test["micro_f1"]:.3f} | {constant["micro_f1"]:.3f} |
| macro F1 | {test["macro_f1"]:.3f} | {constant["macro_f1"]:.3f} |

Input: one array a band, as stored; standardising and resampling happen inside.

| band | sensor | shape | type | unit |
|---|---|---|---|---|
{inputs}

Output: `probabilities` [N, {len(card["class_names"])}] and `class_names`. A label is given from {card["threshold"]} on.

| index | class | test F1 | patches in test |
|---|---|---|---|
{classes}

```python
import tensorflow as tf
model = tf.saved_model.load("this folder").signatures["serving_default"]
answer = model({", ".join(f"{name}=..." for name in card["inputs"])})
```
"""
