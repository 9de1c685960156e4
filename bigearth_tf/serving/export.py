"""How does a trained model become a product? A SavedModel that takes raw bands and answers with named land cover.

Its signature `serving_default` takes one array a band, [N, size_px, size_px] in storage type and unit, by band name,
and returns `probabilities` float32 [N, K] and `class_names` string [K]. Using it needs TensorFlow and nothing of this
package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.runtime.files import atomic_folder
from bigearth_tf.serving.model_card import CARD_NAME, _card_for_people, model_card


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
    card = model_card(run)
    with atomic_folder(output_dir) as temporary:
        save_model(run.model, run.bands, run.class_names, temporary, run.settings.dataset.label_kind)
        (temporary / CARD_NAME).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_card_for_people(card), encoding="utf-8")
    return output_dir


def save_model(
    model: Any,
    bands: Sequence[Band],
    class_names: Sequence[str],
    folder: str | os.PathLike,
    label_kind: LabelKind = LabelKind.MULTI,
) -> None:
    """Writes the SavedModel of a model `bands -> logits [B, K]` into a new folder.

    The probabilities of single-label models add up to 1.
    """
    to_probabilities = getattr(tf.nn, label_kind.activation)

    def serve(**pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "probabilities": to_probabilities(model(pixels, training=False)),
            "class_names": tf.constant(list(class_names)),
        }

    module = tf.Module()
    # Not the model itself: Keras would write a function for each of its layers, which takes most of a minute.
    module.weights = model.variables
    # Nor is the function an attribute: it would be traced and written twice, with all its gradients.
    signature = tf.function(serve).get_concrete_function(
        **{band.name: tf.TensorSpec([None, band.size_px, band.size_px], band.dtype, band.name) for band in bands}
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of names and files that concern nobody here.
    tf.saved_model.save(module, os.fspath(folder), signatures=signature)
    logging.set_verbosity(verbosity)
