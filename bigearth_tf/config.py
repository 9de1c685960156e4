"""What can be set for a training run? Every field, its unit, and what it may be.

A file in `experiments/configs/` builds a `TrainConfig`; `--config.field=value` overrides a field on the command line.
This module loads no TensorFlow, so that `--help` and a wrong field answer at once.
"""

# No `from __future__ import annotations` here: ml_collections reads the types to check overrides.
import ast
import dataclasses
from typing import Any


@dataclasses.dataclass
class DataConfig:
    """What to train on."""

    # Folder of shards and their manifest; `--data_dir` sets it.
    data_dir: str = ""
    # A band set (RGB, S1, S2, S2_ALL, MM), or band names with commas between.
    bands: str = "S2"
    # Memory of the shuffle buffer of one rank, in 10^6 bytes of records. Shards are shuffled samples already.
    shuffle_mb: float = 500.0
    # Random flips and quarter rotations, alike on all bands.
    augment: bool = True


@dataclasses.dataclass
class OptimizerConfig:
    """How weights move."""

    # adam, adamw or sgd.
    name: str = "adam"
    # Decoupled weight decay of adamw.
    weight_decay: float = 0.0
    # Momentum of sgd.
    momentum: float = 0.9


@dataclasses.dataclass
class ScheduleConfig:
    """How the learning rate moves."""

    # constant; step: x 0.1 at 80 % and 90 % of the run, as the published benchmark; cosine: down to 0.
    name: str = "cosine"
    # Learning rate after the warm-up. It is not scaled by the number of ranks.
    peak: float = 1e-3
    # Optimiser steps of linear warm-up from 0.
    warmup_steps: int = 0


@dataclasses.dataclass
class TrainConfig:
    """A training run. The same config on 1 or N ranks is the same algorithm."""

    # One of bigearth_tf.models.list_models().
    model: str = "wide_resnet_eca_b0"
    # Fields of the model's own config to replace, as keyword arguments: "width=4, attention='none'".
    model_overrides: str = ""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    # Passes over the training split.
    epochs: int = 30
    # Records of one optimiser step, over all ranks together; a multiple of the number of ranks.
    global_batch_size: int = 256
    # Validation score that chooses the best checkpoint: one of bigearth_tf.metrics.SELECTION_SCORES.
    best_metric: str = "macro_f1"
    # Decides initial weights, order and augmentation.
    seed: int = 42


def validate(config: TrainConfig) -> None:
    """Checks what the types alone cannot say.

    Raises:
        ValueError: A field is out of its range.
    """
    parse_overrides(config.model_overrides)
    wrong = [
        name
        for name, ok in (
            ("data.data_dir (name a folder with --data_dir)", bool(config.data.data_dir)),
            ("data.shuffle_mb (> 0)", config.data.shuffle_mb > 0),
            ("schedule.peak (> 0)", config.schedule.peak > 0),
            ("schedule.warmup_steps (>= 0)", config.schedule.warmup_steps >= 0),
            ("epochs (>= 1)", config.epochs >= 1),
            ("global_batch_size (>= 1)", config.global_batch_size >= 1),
        )
        if not ok
    ]
    if wrong:
        raise ValueError(f"These fields of the config are missing or out of range: {'; '.join(wrong)}.")


def parse_overrides(text: str) -> dict[str, Any]:
    """Returns the keyword arguments that a text such as "width=4, attention='none'" stands for; nothing is executed.

    Raises:
        ValueError: It is no list of keywords with literal values.
    """
    try:
        call = ast.parse(f"dict({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("not only keywords")
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"model_overrides={text!r}: {error}; expected keywords with literal values, such as "
            "width=4, attention='none'."
        ) from error
