"""Export of a trained model as a SavedModel that takes raw bands and returns probabilities and class names.

Its signature `serving_default` takes one array per band by the band's name, [N, size_px, size_px] in storage type and
unit, and returns `probabilities` float32 [N, K], `predicted` bool [N, K] and `class_names` string [K]; N may be 0. A
band of another size is refused by name. Using it needs TensorFlow and nothing of this package.
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
from bigearth_tf.data.label_kind import THRESHOLD, LabelKind
from bigearth_tf.evaluation.inference import to_probabilities
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.runtime.files import atomic_folder
from bigearth_tf.runtime.locks import hold_lock_beside
from bigearth_tf.serving.decisions import Decisions, choose_decisions
from bigearth_tf.serving.exported_model import CARD_NAME, check_export_folder
from bigearth_tf.serving.model_card import format_card, make_card


def export_run(
    workdir: str | os.PathLike,
    output_dir: str | os.PathLike,
    evaluation_dir: str | os.PathLike | None = None,
    calibrate: bool = False,
) -> Path:
    """Writes the best model of a finished run and its model card atomically, and returns the folder.

    An earlier export in the folder is replaced.

    Args:
        workdir: Folder of the run.
        output_dir: Folder to write.
        evaluation_dir: Folder of an evaluation of the run, whose thresholds become those of the export.
        calibrate: Divide the logits by the temperature of that evaluation.

    Raises:
        FileNotFoundError: The run has not finished, or `evaluation_dir` has no evaluation.
        ValueError: `output_dir` exists and is not an export, or another process writes it; the evaluation is not one of
            this run, or has fitted nothing; or `calibrate` without an evaluation.
    """
    output_dir = Path(output_dir)
    check_export_folder(output_dir)
    run = load_finished_run(workdir)
    decisions = choose_decisions(run, evaluation_dir, calibrate)
    card = make_card(run, decisions)
    with hold_lock_beside(output_dir), atomic_folder(output_dir) as temporary:
        save_model(run.model, run.bands, run.class_names, temporary, decisions)
        # A config may have infinite fields, such as checkpoint_minutes, which write_json_atomically refuses.
        (temporary / CARD_NAME).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(format_card(card), encoding="utf-8")
    return output_dir


def save_model(
    model: Any,
    bands: Sequence[Band],
    class_names: Sequence[str],
    folder: str | os.PathLike,
    decisions: Decisions = Decisions(),  # noqa: B008 - frozen
) -> None:
    """Writes a model as a SavedModel into a new folder.

    Args:
        model: Bands -> logits [B, K].
        bands: Rows of the bands that the model takes.
        class_names: K names.
        folder: Folder to create.
        decisions: How probabilities and predicted classes follow from the logits.
    """

    def serve(**pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        checked, num_records = _check_and_pad(pixels, bands)
        logits = model(checked, training=False) / decisions.temperature
        probabilities = to_probabilities(logits, decisions.label_kind)[:num_records]
        return {
            "probabilities": probabilities,
            "predicted": _decide(probabilities, decisions),
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


def _decide(probabilities: tf.Tensor, decisions: Decisions) -> tf.Tensor:
    """Returns the predicted classes, bool [N, K], as `LabelKind.decide` does."""
    if decisions.label_kind is LabelKind.MULTI:
        return probabilities >= tf.constant(decisions.thresholds or THRESHOLD, tf.float32)
    num_classes = tf.shape(probabilities)[1]
    return tf.one_hot(tf.argmax(probabilities, axis=1), num_classes, on_value=True, off_value=False, dtype=tf.bool)


def _check_and_pad(pixels: dict[str, tf.Tensor], bands: Sequence[Band]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Returns the bands {name: [max(N, 1), size_px, size_px]}, and N; the graph refuses another size, naming the band.

    An empty batch gets a record of zeros, because convolutions of TensorFlow fail without a record.
    """
    first = bands[0].name
    num_records = tf.shape(pixels[first])[0]
    missing = tf.cast(tf.equal(num_records, 0), tf.int32)
    checked = {}
    for band in bands:
        # A placeholder hides the static shape: TensorFlow would conclude from it that the size is right.
        given = tf.compat.v1.placeholder_with_default(pixels[band.name], shape=None)
        expected = tf.stack([num_records, band.size_px, band.size_px])
        # Zeros at the end, so that shapes of another rank can be compared.
        is_right = tf.reduce_all(tf.equal(tf.pad(tf.shape(given), [[0, 4]])[:4], tf.pad(expected, [[0, 1]])))
        size = f"{band.dtype} [N, {band.size_px}, {band.size_px}]"
        message = f"The model takes band {band.name} as {size}, with the same N as {first}. Its shape is"
        with tf.control_dependencies([tf.debugging.Assert(is_right, [message, tf.shape(given)])]):
            padded = tf.pad(tf.reshape(given, expected), [[0, missing], [0, 0], [0, 0]])
        checked[band.name] = tf.ensure_shape(padded, [None, band.size_px, band.size_px])
    return checked, num_records
