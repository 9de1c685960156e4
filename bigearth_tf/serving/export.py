"""Export of a trained model as a SavedModel that takes raw bands and returns probabilities and class names.

Its signature `serving_default` takes one array per band by the band's name, [N, size_px, size_px] in storage type and
unit, and returns `probabilities` float32 [N, K] and `class_names` string [K]. Using it needs TensorFlow and nothing of
this package.
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
from bigearth_tf.evaluation.inference import to_probabilities
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.runtime.files import atomic_folder
from bigearth_tf.serving.exported_model import CARD_NAME
from bigearth_tf.serving.model_card import format_card, make_card


def export_run(workdir: str | os.PathLike, output_dir: str | os.PathLike) -> Path:
    """Writes the best model of a finished run and its model card atomically, and returns the folder.

    An earlier export in the folder is replaced.

    Raises:
        FileNotFoundError: The run has not finished.
        ValueError: `output_dir` exists and is not an export.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not (output_dir / CARD_NAME).exists():
        raise ValueError(f"{output_dir}: exists and is not an export. Name another --output_dir.")
    run = load_finished_run(workdir)
    card = make_card(run)
    with atomic_folder(output_dir) as temporary:
        save_model(run.model, run.bands, run.class_names, temporary, run.settings.dataset.label_kind)
        # A config may have infinite fields, such as checkpoint_minutes, which write_json_atomically refuses.
        (temporary / CARD_NAME).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(format_card(card), encoding="utf-8")
    return output_dir


def save_model(
    model: Any,
    bands: Sequence[Band],
    class_names: Sequence[str],
    folder: str | os.PathLike,
    label_kind: LabelKind = LabelKind.MULTI,
) -> None:
    """Writes a model as a SavedModel into a new folder.

    Args:
        model: Bands -> logits [B, K].
        bands: Rows of the bands that the model takes.
        class_names: K names.
        folder: Folder to create.
        label_kind: Kind of the labels that the model was trained on.
    """

    def serve(**pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "probabilities": to_probabilities(model(pixels, training=False), label_kind),
            "class_names": tf.constant(list(class_names)),
        }

    module = tf.Module()
    # Only the weights: if the model itself were an attribute, Keras would write a function for each of its layers,
    # which takes most of a minute.
    module.weights = model.variables
    # The function is not an attribute either: it would be traced and written twice, with all its gradients.
    signature = tf.function(serve, autograph=False).get_concrete_function(
        **{band.name: tf.TensorSpec([None, band.size_px, band.size_px], band.dtype, band.name) for band in bands}
    )
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)  # TensorFlow logs names and files that do not help a user.
    tf.saved_model.save(module, os.fspath(folder), signatures=signature)
    logging.set_verbosity(verbosity)
