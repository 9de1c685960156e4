"""The config of a training run: every field, its unit, and its allowed values.

A file in `experiments/configs/` builds a `TrainConfig`; `--config.field=value` overrides a field on the command line.
This module loads no TensorFlow, so that `--help` and an error in a field are shown at once.
"""

# No `from __future__ import annotations` here: ml_collections reads the types to check overrides.
import ast
import dataclasses
import operator
from typing import Any


@dataclasses.dataclass
class DataConfig:
    """The data, and how they are shuffled and augmented."""

    # Folder of shards and their manifest; `--data_dir` sets it.
    data_dir: str = ""
    # A band set (RGB, S1, S2, S2_ALL, MM), or band names separated by commas.
    bands: str = "S2"
    # Memory for shuffling on one rank, in 10^6 bytes of records.
    shuffle_mb: float = 500.0
    # Random flips and rotations by 90 degrees, the same for all bands of a patch.
    augment: bool = True
    # Mixup (https://arxiv.org/abs/1710.09412): alpha of the Beta distribution of mixing shares; 0: no mixup.
    mixup_alpha: float = 0.0


@dataclasses.dataclass
class LossConfig:
    """The loss."""

    # binary_cross_entropy or focal for multi-label data, softmax for single-label data; auto
    # chooses binary_cross_entropy or softmax.
    name: str = "auto"
    # Share of each label that is spread equally: over present and absent, or with softmax over all classes.
    label_smoothing: float = 0.0
    # Exponent of the focal loss (https://arxiv.org/abs/1708.02002, section 3.2).
    focal_gamma: float = 2.0
    # none; balanced: inversely proportional to the class counts of the train split, with mean 1.
    class_weights: str = "none"
    # Factor of the sum of squares of all kernels (not of biases and norms), added to the loss.
    l2: float = 0.0


@dataclasses.dataclass
class OptimizerConfig:
    """The optimizer."""

    # adam, adamw, sgd, or lamb for large global batches (it needs tensorflow_addons).
    name: str = "adam"
    # Decoupled weight decay of adamw and lamb; it does not apply to norms and biases.
    weight_decay: float = 0.0
    # Momentum of sgd.
    momentum: float = 0.9
    # Largest norm of all gradients together; 0: no limit.
    clip_norm: float = 0.0
    # Number of parts of a rank's batch that are computed one after another, to save memory.
    accumulate: int = 1
    # Decay per step of the average of the weights, which is evaluated and saved as the best model; 0: no average.
    ema_decay: float = 0.0


@dataclasses.dataclass
class ScheduleConfig:
    """The learning rate over the run."""

    # constant; step: x 0.1 at 80 % and 90 % of the run, as in the published benchmark; cosine: down to 0.
    name: str = "cosine"
    # Learning rate after the warm-up, before scaling.
    peak: float = 1e-3
    # Optimizer steps of linear warm-up from 0.
    warmup_steps: int = 0
    # How peak grows with the global batch: none; linear or sqrt in global_batch_size / reference_batch_size;
    # explicit: times scale. The number of ranks has no influence.
    scaling: str = "none"
    reference_batch_size: int = 128
    scale: float = 1.0


@dataclasses.dataclass
class CommunicationConfig:
    """How gradients are reduced over ranks; on one rank it has no effect."""

    # Compression of gradients on the network: none (as computed) or fp16.
    compression: str = "none"
    # average, or adasum (https://arxiv.org/abs/2006.02924), which needs 1, 2, 4, 8, ... ranks.
    reduction: str = "average"
    # Largest group of gradients that is sent at once, in 10^6 bytes.
    fusion_mb: float = 64.0
    # Whether batch norm uses statistics of the global batch instead of each rank's own.
    sync_batch_norm: bool = False
    # A rank that takes no step for this time ends the run, and reports where every rank is. The limit is ten times as
    # long for first steps and for scoring, and at least ten times the duration of the step before.
    stall_timeout_s: float = 60.0


@dataclasses.dataclass
class TrainConfig:
    """A training run. The same config on 1 or N ranks is the same algorithm."""

    # One of bigearth_tf.models.list_models().
    model: str = "wide_resnet_eca_b0"
    # Fields of the model's config to replace, as keyword arguments: "width=4, attention='none'".
    model_overrides: str = ""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    communication: CommunicationConfig = dataclasses.field(default_factory=CommunicationConfig)
    # Largest number of passes over the training split.
    epochs: int = 30
    # Records of one optimizer step, over all ranks together; a multiple of the number of ranks.
    global_batch_size: int = 256
    # Validation score that chooses the best checkpoint: one of
    # `selection_scores` in bigearth_tf/evaluation/metric_table.py.
    best_metric: str = "macro_f1"
    # The run ends after this many epochs without a better score; 0: never.
    early_stopping_epochs: int = 0
    # float32, mixed_bfloat16 or mixed_float16 (with loss scaling).
    precision: str = "float32"
    # Whether to compile the loss and its gradients with XLA.
    xla: bool = False
    # Number of steps from one check of the clock, the signals and the loss to the next.
    steps_per_execution: int = 1
    # Minutes between two checkpoints within an epoch; each epoch ends with one.
    checkpoint_minutes: float = 10.0
    # Steps between two checkpoints within an epoch; 0: by the clock only.
    checkpoint_steps: int = 0
    # Seed of initial weights, order of records, augmentation and dropout.
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
    """Checks that each value is allowed; the type of a field alone does not ensure it.

    Raises:
        ValueError: A field is out of range, or is not one of its allowed words.
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
    """Returns the keyword arguments in a text such as "width=4, attention='none'"; nothing is executed.

    Raises:
        ValueError: The text is not a list of keywords with literal values.
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
