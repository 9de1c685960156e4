"""What does a model say of each record of a split? One table of all ranks, and its scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from bigearth_tf.distributed import Replica, gather


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A row a record, sorted by patch id: `patch_ids` [N], `labels` [N, K] multi-hot, `probabilities` [N, K]."""

    patch_ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def make_predict_step(model: Any) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    """Returns a compiled function: raw bands {name: [B, h, w]} -> probabilities float32 [B, K]."""

    @tf.function
    def predict_step(bands: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.sigmoid(model(bands, training=False))

    return predict_step


def predict_dataset(
    predict_step: Callable[[dict[str, tf.Tensor]], tf.Tensor],
    dataset: tf.data.Dataset,
    replica: Replica,
    num_records: int,
) -> Predictions:
    """Returns every rank's rows on every rank, each record once.

    Args:
        predict_step: As of `make_predict_step`.
        dataset: This rank's batches, as of `make_eval_dataset`.
        replica: This rank.
        num_records: Records of the split over all ranks.

    Raises:
        ValueError: The ranks together did not see each record exactly once.
    """
    columns: dict[str, list[np.ndarray]] = {"patch_ids": [], "labels": [], "probabilities": []}
    for batch in dataset:
        real = batch["mask"].numpy().astype(bool)
        columns["patch_ids"].append(batch["patch_id"].numpy()[real].astype(str))
        columns["labels"].append(batch["labels"].numpy()[real])
        columns["probabilities"].append(predict_step(batch["bands"]).numpy()[real])
    parts = [part for part in gather(columns, replica) if part["patch_ids"]]
    table = {name: np.concatenate([rows for part in parts for rows in part[name]]) for name in columns}
    order = np.argsort(table["patch_ids"], kind="stable")
    predictions = Predictions(**{name: rows[order] for name, rows in table.items()})
    found = len(np.unique(predictions.patch_ids))
    if not found == len(predictions.patch_ids) == num_records:
        raise ValueError(
            f"{len(predictions.patch_ids)} records of {found} patches were scored, the split has {num_records}. "
            "Check the data set with `python -m tfrecord_tools.verify`."
        )
    return predictions
