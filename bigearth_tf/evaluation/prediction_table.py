"""What did a model say of each patch? The table that every score is computed from, in memory and as a Parquet file.

The file has a row a patch, sorted by patch id: `patch_id` (string), then for each class of the model in its order
`label/<class>` (bool) and `probability/<class>` (float32, bit for bit as computed). Its metadata, under `bigearth_tf`,
is JSON with `class_names` and `label_kind`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
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
    """A row a record, sorted by patch id: `patch_ids` [N], `labels` [N, K] multi-hot, `probabilities` [N, K]."""

    patch_ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class StoredPredictions:
    """What a file holds: the table, the names of its K classes, and the kind of their labels."""

    table: Predictions
    class_names: tuple[str, ...]
    label_kind: LabelKind


def write_predictions(
    predictions: Predictions,
    class_names: Sequence[str],
    path: str | os.PathLike,
    label_kind: LabelKind = LabelKind.MULTI,
) -> None:
    """Writes a table, whole or not at all; the same table gives the same bytes.

    Raises:
        ValueError: The table has another number of classes than there are names, or a probability is not finite.
    """
    num_classes = predictions.labels.shape[1]
    if not num_classes == predictions.probabilities.shape[1] == len(class_names) == len(set(class_names)):
        raise ValueError(
            f"{len(set(class_names))} class names, {num_classes} columns of labels and "
            f"{predictions.probabilities.shape[1]} of probabilities do not fit together."
        )
    check_finite(predictions)
    columns = {"patch_id": pyarrow.array(predictions.patch_ids, pyarrow.string())}
    for index, name in enumerate(class_names):
        columns[f"label/{name}"] = pyarrow.array(predictions.labels[:, index].astype(bool))
    for index, name in enumerate(class_names):
        columns[f"probability/{name}"] = pyarrow.array(predictions.probabilities[:, index].astype(np.float32))
    note = {"class_names": list(class_names), "label_kind": label_kind}
    metadata = {_METADATA_KEY: json.dumps(note, ensure_ascii=False).encode()}
    with atomic_file(Path(path)) as temporary:
        parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), temporary, compression="zstd")


def check_finite(predictions: Predictions) -> None:
    """Checks that every probability is a number from 0 to 1.

    Raises:
        ValueError: One is not; the message names the first such patch.
    """
    wrong = ~((predictions.probabilities >= 0) & (predictions.probabilities <= 1)).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{wrong.sum()} of {len(wrong)} records have a probability that is not between 0 and 1, the first of them "
            f"{predictions.patch_ids[np.argmax(wrong)]}: the model's weights or its input are not finite."
        )


def read_predictions(path: str | os.PathLike) -> StoredPredictions:
    """Returns the table of a file, or of `predictions.parquet` in a folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no table that `write_predictions` wrote.
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
    return StoredPredictions(Predictions(patch_ids, labels, probabilities), names, label_kind)
