"""The table of a model's predictions, from which every score is computed: in memory and as Parquet.

A file has one row per patch, sorted by patch id, and these columns:

- `patch_id` (string), then the attributes of the records, such as `country` (string, empty where a record lacks it);
- `true_labels` and `predicted`: names of classes, separated by "; ";
- for each class of the model in its order, `label/<class>` (bool), then `probability/<class>` (float32, exactly as
  computed), then `decision/<class>` (bool: predicted at the threshold 0.5, or as the most probable class), and
  `decision_tuned/<class>` if an evaluation tuned thresholds.

The metadata key `bigearth_tf` of a Parquet file contains JSON with `class_names` and `label_kind`. Files of version
0.1.0 have only the columns of patch ids, labels and probabilities.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Optional

import numpy as np
import pyarrow
from pyarrow import parquet

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runtime.files import atomic_file

PREDICTIONS_NAME = "predictions.parquet"
_METADATA_KEY = b"bigearth_tf"
_LABEL_COLUMNS = ("true_labels", "predicted")


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row per record: `patch_ids` [N], `labels` [N, K] multi-hot, `probabilities` [N, K].

    `attributes` maps the name of an attribute to the texts of the records [N].
    """

    patch_ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    attributes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def select(self, rows: np.ndarray | slice) -> Predictions:
        """Returns the rows of these indices."""
        attributes = {name: texts[rows] for name, texts in self.attributes.items()}
        return Predictions(self.patch_ids[rows], self.labels[rows], self.probabilities[rows], attributes)


@dataclasses.dataclass(frozen=True)
class NamedPredictions:
    """A table with the names of its K classes and the kind of its labels: what a file stores."""

    table: Predictions
    class_names: tuple[str, ...]
    label_kind: LabelKind


def make_columns(predictions: NamedPredictions, tuned_thresholds: Optional[np.ndarray] = None) -> dict[str, np.ndarray]:
    """Returns the columns of a stored table by name, [N] each: texts, bool, and float32 for probabilities.

    Args:
        predictions: The table.
        tuned_thresholds: [K], for columns of the decisions by them; without, only those at 0.5 are included.

    Raises:
        ValueError: The number of classes is not the number of names, or a probability is not between 0 and 1.
    """
    table, class_names = predictions.table, predictions.class_names
    num_classes = table.labels.shape[1]
    if not num_classes == table.probabilities.shape[1] == len(class_names) == len(set(class_names)):
        raise ValueError(
            f"{len(set(class_names))} class names, {num_classes} columns of labels and "
            f"{table.probabilities.shape[1]} of probabilities do not fit together."
        )
    check_probabilities(table)
    truth, label_kind = table.labels.astype(bool), predictions.label_kind
    decided = label_kind.decide(table.probabilities)
    by_class = {"label": truth, "probability": table.probabilities.astype(np.float32), "decision": decided}
    if tuned_thresholds is not None:
        by_class["decision_tuned"] = label_kind.decide(table.probabilities, tuned_thresholds)
    return {
        "patch_id": table.patch_ids,
        **table.attributes,
        **dict(zip(_LABEL_COLUMNS, (_join_names(chosen, class_names) for chosen in (truth, decided)))),
        **{
            f"{kind}/{name}": values[:, index]
            for kind, values in by_class.items()
            for index, name in enumerate(class_names)
        },
    }


def _join_names(chosen: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    return np.array(["; ".join(name for name, is_chosen in zip(class_names, row) if is_chosen) for row in chosen])


def write_predictions(
    predictions: NamedPredictions, path: str | os.PathLike, tuned_thresholds: Optional[np.ndarray] = None
) -> None:
    """Writes a table atomically as Parquet; the same table gives the same bytes. Arguments as for `make_columns`.

    Raises:
        ValueError: As for `make_columns`.
    """
    columns = {name: pyarrow.array(values) for name, values in make_columns(predictions, tuned_thresholds).items()}
    note = {"class_names": list(predictions.class_names), "label_kind": predictions.label_kind}
    metadata = {_METADATA_KEY: json.dumps(note, ensure_ascii=False).encode()}
    with atomic_file(Path(path)) as temporary:
        parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), temporary, compression="zstd")


def check_probabilities(table: Predictions) -> None:
    """Checks that every probability is a number from 0 to 1.

    Raises:
        ValueError: A probability is not; the message names the first such patch.
    """
    wrong = ~((table.probabilities >= 0) & (table.probabilities <= 1)).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {len(wrong)} records have a probability that is not between 0 and 1, the first of them "
            f"{table.patch_ids[np.argmax(wrong)]}: the model's weights or its input are not finite."
        )


def read_predictions(path: str | os.PathLike) -> NamedPredictions:
    """Returns the table in a file, or in the file `predictions.parquet` of a folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: `write_predictions` did not write the file.
    """
    path = Path(path)
    path = path / PREDICTIONS_NAME if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing. `python -m experiments.evaluate` writes it.")
    try:
        stored = parquet.read_table(path)
        note = json.loads((stored.schema.metadata or {})[_METADATA_KEY])
        names = tuple(note["class_names"])
        labels, probabilities = (
            np.stack([stored.column(f"{kind}/{name}").to_numpy() for name in names], axis=1).astype(np.float32)
            for kind in ("label", "probability")
        )
        patch_ids = np.array(stored.column("patch_id").to_pylist(), dtype=str)
        label_kind = LabelKind(note["label_kind"])
        texts = [name for name in stored.column_names[1:] if "/" not in name and name not in _LABEL_COLUMNS]
        attributes = {name: np.array(stored.column(name).to_pylist(), dtype=str) for name in texts}
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a table of predictions that `python -m experiments.evaluate` writes ({error!r})."
        ) from error
    return NamedPredictions(Predictions(patch_ids, labels, probabilities, attributes), names, label_kind)
