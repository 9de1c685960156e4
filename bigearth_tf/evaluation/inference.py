"""Distributed inference over a split: one table of probabilities, the same on every rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.collectives import gather
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.prediction_table import Predictions
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.input.shard_index import name_broken_records

# Records of a rank that are scored at a time.
_BATCH_SIZE = 256

PredictStep = Callable[[dict[str, tf.Tensor]], tf.Tensor]


def to_probabilities(logits: tf.Tensor, label_kind: LabelKind) -> tf.Tensor:
    """Returns the probabilities of logits, both [B, K]."""
    return getattr(tf.nn, label_kind.activation)(logits)


def make_predict_step(model: Any, label_kind: LabelKind = LabelKind.MULTI) -> PredictStep:
    """Returns a compiled function: raw bands {name: [B, h, w]} -> probabilities float32 [B, K].

    Args:
        model: Bands -> logits [B, K].
        label_kind: Kind of the labels that the model was trained on.
    """

    @tf.function(autograph=False)
    def predict_step(bands: dict[str, tf.Tensor]) -> tf.Tensor:
        return to_probabilities(model(bands, training=False), label_kind)

    return predict_step


def predict_split(
    predict_step: PredictStep,
    dataset: ShardedDataset,
    split: str,
    bands: Sequence[Band],
    replica: Replica,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = lambda batches: batches,
) -> Predictions:
    """Returns the rows of a split of all ranks on every rank, each record once.

    The batch size does not depend on the number of ranks, so that the same kernels compute every record.

    Args:
        predict_step: From `make_predict_step`.
        dataset: The data set.
        split: Split to predict.
        bands: Bands that the model takes.
        replica: This rank.
        watch: Function of the batches that returns them, and notices each one.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: The split does not exist, or a record of it is broken.
    """
    num_records = dataset.num_records(split)
    batches = make_eval_dataset(dataset, split, bands, batch_size=min(_BATCH_SIZE, num_records), replica=replica)
    with name_broken_records(dataset, split):
        return predict_dataset(predict_step, watch(batches), replica, num_records)


def predict_dataset(
    predict_step: PredictStep, dataset: Iterable[Any], replica: Replica, num_records: int
) -> Predictions:
    """Returns the rows of all ranks on every rank, each record once.

    Args:
        predict_step: From `make_predict_step`.
        dataset: This rank's batches, from `make_eval_dataset`.
        replica: This rank.
        num_records: Number of records of the split over all ranks.

    Raises:
        ValueError: The ranks together did not see each record exactly once.
    """
    batches = [_score_batch(predict_step, batch) for batch in dataset]
    # A rank may have no batch.
    mine = _concatenate(batches) if batches else None
    parts = [part for part in gather(mine, replica) if part]
    whole = _concatenate(parts)
    predictions = whole.select(np.argsort(whole.patch_ids, kind="stable"))
    found = len(np.unique(predictions.patch_ids))
    if not found == len(predictions.patch_ids) == num_records:
        raise ValueError(
            f"{len(predictions.patch_ids)} records of {found} patches were scored, the split has {num_records}. "
            "Check the data set with `python -m tfrecord_tools.verify`."
        )
    return predictions


def _score_batch(predict_step: PredictStep, batch: dict[str, Any]) -> Predictions:
    """Returns the rows of a batch without its padding."""
    real = batch["mask"].numpy().astype(bool)
    return Predictions(
        _decode(batch["patch_id"], real),
        batch["labels"].numpy()[real],
        predict_step(batch["bands"]).numpy()[real],
        {name: _decode(texts, real) for name, texts in batch.get("attributes", {}).items()},
    )


def _decode(texts: tf.Tensor, real: np.ndarray) -> np.ndarray:
    return np.array([text.decode() for text in texts.numpy()[real]], dtype=str)


def _concatenate(parts: Sequence[Predictions]) -> Predictions:
    first = parts[0]
    return Predictions(
        np.concatenate([part.patch_ids for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        {name: np.concatenate([part.attributes[name] for part in parts]) for name in first.attributes},
    )
