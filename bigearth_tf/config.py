"""What can be set for a training run? Every field, its unit, and what it may be.

A file in `experiments/configs/` builds a `TrainConfig`; `--config.field=value` overrides a field on the command line.
This module loads no TensorFlow, so that `--help` and a wrong field answer at once.
"""

# No `from __future__ import annotations` here: ml_collections reads the types to check overrides.
import ast
import dataclasses
import operator
from typing import Any


@dataclasses.dataclass
class DataConfig:
    """What to train on."""

    # Folder of shards and their manifest; `--data_dir` sets it.
    data_dir: str = ""
    # A band set (RGB, S1, S2, S2_ALL, MM), or band names with commas between.
    bands: str = "S2"
    # Memory that shuffling may take on one rank, in 10^6 bytes of records.
    shuffle_mb: float = 500.0
    # Random flips and quarter rotations, alike on all bands.
    augment: bool = True
    # Mixup (https://arxiv.org/abs/1710.09412): alpha of the Beta distribution of the shares; 0 mixes nothing.
    mixup_alpha: float = 0.0


@dataclasses.dataclass
class LossConfig:
    """What is minimised."""

    # binary_cross_entropy or focal for multi-label data, softmax for single-label data; auto: by the data.
    name: str = "auto"
    # Share of each label that is spread evenly: over present and absent, or over the classes for softmax.
    label_smoothing: float = 0.0
    # Exponent of the focal loss (https://arxiv.org/abs/1708.02002, section 3.2).
    focal_gamma: float = 2.0
    # none; balanced: by the class counts of the train split, rare classes weigh more, with mean 1.
    class_weights: str = "none"
    # Factor of the sum of squares of all kernels (not of biases and norms), added to the loss.
    l2: float = 0.0


@dataclasses.dataclass
class OptimizerConfig:
    """How weights move."""

    # adam, adamw, sgd, or lamb for large global batches (it needs tensorflow_addons).
    name: str = "adam"
    # Decoupled weight decay of adamw and lamb; norms and biases are left out.
    weight_decay: float = 0.0
    # Momentum of sgd.
    momentum: float = 0.9
    # Largest norm of all gradients together; 0 for no limit.
    clip_norm: float = 0.0
    # Parts that a rank's batch is worked through in, one after another, to save memory.
    accumulate: int = 1
    # Decay per step of the average of the weights that is evaluated and kept; 0 for none.
    ema_decay: float = 0.0


@dataclasses.dataclass
class ScheduleConfig:
    """How the learning rate moves."""

    # constant; step: x 0.1 at 80 % and 90 % of the run, as the published benchmark; cosine: down to 0.
    name: str = "cosine"
    # Learning rate after the warm-up, before scaling.
    peak: float = 1e-3
    # Optimiser steps of linear warm-up from 0.
    warmup_steps: int = 0
    # How peak grows with the global batch: none; linear or sqrt in global_batch_size / reference_batch_size;
    # explicit: times scale. The number of ranks never enters.
    scaling: str = "none"
    reference_batch_size: int = 128
    scale: float = 1.0


@dataclasses.dataclass
class CommunicationConfig:
    """How ranks agree on gradients; it changes nothing on one rank."""

    # What crosses the network: none (as computed) or fp16.
    compression: str = "none"
    # average, or adasum (https://arxiv.org/abs/2006.02924), which needs a power of two ranks.
    reduction: str = "average"
    # Gradients are sent together up to this many 10^6 bytes.
    fusion_mb: float = 64.0
    # Batch norm over the global batch instead of each rank's own part.
    sync_batch_norm: bool = False
    # A rank that takes no step for so long ends the run, with a report of where every rank stands. First steps and
    # scoring, and a step that follows a slow one, have ten times as long.
    stall_timeout_s: float = 60.0


@dataclasses.dataclass
class TrainConfig:
    """A training run. The same config on 1 or N ranks is the same algorithm."""

    # One of bigearth_tf.models.list_models().
    model: str = "wide_resnet_eca_b0"
    # Fields of the model's own config to replace, as keyword arguments: "width=4, attention='none'".
    model_overrides: str = ""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    communication: CommunicationConfig = dataclasses.field(default_factory=CommunicationConfig)
    # Passes over the training split, at most.
    epochs: int = 30
    # Records of one optimiser step, over all ranks together; a multiple of the number of ranks.
    global_batch_size: int = 256
    # Validation score that chooses the best checkpoint: one of bigearth_tf.evaluation.metrics.SELECTION_SCORES.
    best_metric: str = "macro_f1"
    # The run ends after so many epochs without a better score; 0 never.
    early_stopping_epochs: int = 0
    # float32, mixed_bfloat16 or mixed_float16 (with loss scaling).
    precision: str = "float32"
    # Compile the training step with XLA.
    xla: bool = False
    # Steps between two looks at the clock, the signals and the loss.
    steps_per_execution: int = 1
    # Minutes between two checkpoints within an epoch; each epoch ends with one.
    checkpoint_minutes: float = 10.0
    # Steps between two checkpoints within an epoch; 0: by the clock alone.
    checkpoint_steps: int = 0
    # Decides initial weights, order, augmentation and dropout.
    seed: int = 42


_CHOICES = {
    "loss.name": ("auto", "binary_cross_entropy", "focal", "softmax"),
    "loss.class_weights": ("none", "balanced"),
    "optimizer.name": ("adam", "adamw", "sgd", "lamb"),
    "schedule.name": ("constant", "step", "cosine"),
    "schedule.scaling": ("none", "linear", "sqrt", "explicit"),
    "communication.compression": ("none", "fp16"),
    "communication.reduction": ("average", "adasum"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


def validate(config: TrainConfig) -> None:
    """Checks what the types alone cannot say.

    Raises:
        ValueError: A field is out of its range, or no word that is allowed for it.
    """
    parse_overrides(config.model_overrides)
    for name, allowed in _CHOICES.items():
        value = operator.attrgetter(name)(config)
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: unknown; allowed: {', '.join(allowed)}.")
    wrong = [
        name
        for name, ok in (
            ("data.data_dir (name a folder with --data_dir)", bool(config.data.data_dir)),
            ("data.shuffle_mb (> 0)", config.data.shuffle_mb > 0),
            ("data.mixup_alpha (>= 0)", config.data.mixup_alpha >= 0),
            ("loss.label_smoothing (0 <= x < 1)", 0 <= config.loss.label_smoothing < 1),
            ("loss.focal_gamma (>= 0)", config.loss.focal_gamma >= 0),
            ("loss.l2 (>= 0)", config.loss.l2 >= 0),
            ("optimizer.weight_decay (>= 0)", config.optimizer.weight_decay >= 0),
            ("optimizer.clip_norm (>= 0)", config.optimizer.clip_norm >= 0),
            ("optimizer.accumulate (>= 1)", config.optimizer.accumulate >= 1),
            ("optimizer.ema_decay (0 <= x < 1)", 0 <= config.optimizer.ema_decay < 1),
            ("schedule.peak (> 0)", config.schedule.peak > 0),
            ("schedule.warmup_steps (>= 0)", config.schedule.warmup_steps >= 0),
            ("schedule.reference_batch_size (>= 1)", config.schedule.reference_batch_size >= 1),
            ("schedule.scale (> 0)", config.schedule.scale > 0),
            ("communication.fusion_mb (>= 0)", config.communication.fusion_mb >= 0),
            ("communication.stall_timeout_s (> 0)", config.communication.stall_timeout_s > 0),
            ("epochs (>= 1)", config.epochs >= 1),
            ("global_batch_size (>= 1)", config.global_batch_size >= 1),
            ("early_stopping_epochs (>= 0)", config.early_stopping_epochs >= 0),
            ("steps_per_execution (>= 1)", config.steps_per_execution >= 1),
            ("checkpoint_minutes (> 0)", config.checkpoint_minutes > 0),
            ("checkpoint_steps (>= 0)", config.checkpoint_steps >= 0),
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
