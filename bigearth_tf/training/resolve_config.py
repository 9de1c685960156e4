"""What a config leaves to the data: `auto` becomes a value that fits them. This module loads no TensorFlow."""

from __future__ import annotations

import dataclasses

from bigearth_tf.config import AUTO, TrainConfig
from bigearth_tf.data.bands import BAND_SETS
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest
from bigearth_tf.evaluation.metric_table import selection_scores

# The splits that a run reads.
SPLITS = ("train", "val", "test")
# What `auto` stands for, by the kind of the labels. Accuracy is the micro F1 of single-label data.
AUTO_LOSSES = {LabelKind.MULTI: "binary_cross_entropy", LabelKind.SINGLE: "softmax"}
_AUTO_METRIC = {LabelKind.MULTI: "micro_f1", LabelKind.SINGLE: "accuracy"}
_AUTO_BANDS = "S2"


def resolve_config(config: TrainConfig, manifest: Manifest) -> TrainConfig:
    """Returns a config with the values of a data set in place of every `auto`.

    Raises:
        ValueError: A split is missing, a band is not stored, or the metric does not fit the labels.
    """
    for split in SPLITS:
        manifest.split_shards(split)
    kind = manifest.label_kind
    bands = _choose_bands(manifest) if config.data.bands == AUTO else config.data.bands
    manifest.select_bands(bands)
    loss = AUTO_LOSSES[kind] if config.loss.name == AUTO else config.loss.name
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, bands=bands),
        loss=dataclasses.replace(config.loss, name=loss),
        best_metric=_AUTO_METRIC[kind] if config.best_metric == AUTO else _check_metric(config.best_metric, kind),
    )


def _choose_bands(manifest: Manifest) -> str:
    stored = [band.name for band in manifest.bands if band.std != 0]
    return _AUTO_BANDS if set(BAND_SETS[_AUTO_BANDS]) <= set(stored) else ",".join(stored)


def _check_metric(name: str, kind: LabelKind) -> str:
    allowed = selection_scores(kind)
    if name not in allowed:
        others = [other for other in LabelKind if name in selection_scores(other)]
        problem = f"a score of {others[0]}-label data, and these are {kind}-label data" if others else "unknown"
        raise ValueError(f"best_metric={name!r}: {problem}; allowed: {', '.join((AUTO, *allowed))}.")
    return name
