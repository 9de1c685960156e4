"""The table of a model's predictions, from which every score is computed, in memory and as a Parquet file.

The file has one row per patch, sorted by patch id: `patch_id` (string), then `label/<class>` (bool) for each class of
the model in its order, then `probability/<class>` (float32, exactly as computed) in the same order. The metadata key
`bigearth_tf` holds JSON with `class_names` and `label_kind`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runtime.files import atomic_file

PREDICTIONS_NAME = "predictions.parquet"
_METADATA_KEY = b"bigearth_tf"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row per record, sorted by patch id: `patch_ids` [N], `labels` [N, K] multi-hot, `probabilities` [N, K]."""

    patch_ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class NamedPredictions:
    """A table with the names of its K classes and the kind of its labels: what a file stores."""

    table: Predictions
    class_names: tuple[str, ...]
    label_kind: LabelKind


def write_predictions(predictions: NamedPredictions, path: str | os.PathLike) -> None:
    """Writes a table atomically; the same table gives the same bytes.

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
    columns = {"patch_id": pyarrow.array(table.patch_ids, pyarrow.string())}
    for index, name in enumerate(class_names):
        columns[f"label/{name}"] = pyarrow.array(table.labels[:, index].astype(bool))
    for index, name in enumerate(class_names):
        columns[f"probability/{name}"] = pyarrow.array(table.probabilities[:, index].astype(np.float32))
    note = {"class_names": list(class_names), "label_kind": predictions.label_kind}
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
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a table of predictions that `python -m experiments.evaluate` writes ({error!r})."
        ) from error
    return NamedPredictions(Predictions(patch_ids, labels, probabilities), names, label_kind)
