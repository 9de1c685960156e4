"""The config of a training run: every field, its unit, and its allowed values.

A file in `experiments/configs/` builds a `TrainConfig`; `--config.field=value` overrides a field on the command line.
This module loads no TensorFlow, so that `--help` and an error in a field are shown at once.
"""

# No `from __future__ import annotations` here: ml_collections reads the types to check overrides.
import ast
import dataclasses
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

# The value of a field that follows the data.
AUTO = "auto"
T = TypeVar("T")


def _field(default: T, meaning: str) -> T:
    """Returns a field of a config; `meaning` is its documentation, which `--help` of a command shows."""
    return dataclasses.field(default=default, metadata={"meaning": meaning})


class Field(NamedTuple):
    """A field of a `TrainConfig`: its dotted name, type, default, and what it means."""

    name: str
    kind: type
    default: Any
    meaning: str


@dataclasses.dataclass
class DataConfig:
    """The data, and how they are shuffled and augmented."""

    data_dir: str = _field("", "Folder of shards and their manifest; `--data_dir` sets it.")
    bands: str = _field(
        "auto",
        "A band set (RGB, S1, S2, S2_ALL, MM), or band names separated by commas; auto: S2, or all stored bands "
        "if the data lack one of S2.",
    )
    shuffle_mb: float = _field(500.0, "Memory for shuffling on one rank, in 10^6 bytes of records.")
    augment: bool = _field(True, "Random flips and rotations by 90 degrees, the same for all bands of a patch.")
    mixup_alpha: float = _field(
        0.0, "Mixup (https://arxiv.org/abs/1710.09412): alpha of the Beta distribution of mixing shares; 0: no mixup."
    )


@dataclasses.dataclass
class LossConfig:
    """The loss."""

    name: str = _field(
        "auto",
        "binary_cross_entropy or focal for multi-label data, softmax for single-label data; auto: "
        "binary_cross_entropy or softmax.",
    )
    label_smoothing: float = _field(
        0.0, "Share of each label that is spread equally: over present and absent, or with softmax over all classes."
    )
    focal_gamma: float = _field(2.0, "Exponent of the focal loss (https://arxiv.org/abs/1708.02002, section 3.2).")
    class_weights: str = _field(
        "none", "none; balanced: inversely proportional to the class counts of the train split, with mean 1."
    )
    l2: float = _field(0.0, "Factor of the sum of squares of all kernels (not of biases and norms), added to the loss.")


@dataclasses.dataclass
class OptimizerConfig:
    """The optimizer."""

    name: str = _field("adam", "adam, adamw, sgd, or lamb for large global batches (it needs tensorflow_addons).")
    weight_decay: float = _field(
        0.0, "Decoupled weight decay of adamw and lamb; it does not apply to norms and biases."
    )
    momentum: float = _field(0.9, "Momentum of sgd.")
    clip_norm: float = _field(0.0, "Largest norm of all gradients together; 0: no limit.")
    accumulate: int = _field(
        1, "Number of parts of a rank's batch that are computed one after another, to save memory."
    )
    ema_decay: float = _field(
        0.0,
        "Decay per step of the average of the weights, which is evaluated and saved as the best model; 0: no average.",
    )


@dataclasses.dataclass
class ScheduleConfig:
    """The learning rate over the run."""

    name: str = _field(
        "cosine", "constant; step: x 0.1 at 80 % and 90 % of the run, as in the published benchmark; cosine: down to 0."
    )
    peak: float = _field(1e-3, "Learning rate after the warm-up, before scaling.")
    warmup_steps: int = _field(0, "Optimizer steps of linear warm-up from 0.")
    scaling: str = _field(
        "none",
        "How peak grows with the global batch: none; linear or sqrt in global_batch_size / reference_batch_size; "
        "explicit: times scale. The number of ranks has no influence.",
    )
    reference_batch_size: int = _field(128, "Global batch for which peak is meant; linear and sqrt scale from it.")
    scale: float = _field(1.0, "Factor of peak with scaling=explicit.")


@dataclasses.dataclass
class CommunicationConfig:
    """How gradients are reduced over ranks; on one rank it has no effect."""

    compression: str = _field("none", "Compression of gradients on the network: none (as computed) or fp16.")
    reduction: str = _field(
        "average", "average, or adasum (https://arxiv.org/abs/2006.02924), which needs 1, 2, 4, 8, ... ranks."
    )
    fusion_mb: float = _field(64.0, "Largest group of gradients that is sent at once, in 10^6 bytes.")
    sync_batch_norm: bool = _field(
        False, "Whether batch norm uses statistics of the global batch instead of each rank's own."
    )
    stall_timeout_s: float = _field(
        60.0,
        "A rank that takes no step for this time ends the run, and reports where every rank is. The limit is ten "
        "times as long for first steps and for scoring, and at least ten times the duration of the step before.",
    )


@dataclasses.dataclass
class TrainConfig:
    """A training run. The same config on 1 or N ranks is the same algorithm."""

    model: str = _field("wide_resnet_eca_b0", "Name of a model; `python -m experiments.sweep --list` lists all.")
    model_overrides: str = _field(
        "", "Fields of the model's config to replace, as keyword arguments: \"width=4, attention='none'\"."
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    communication: CommunicationConfig = dataclasses.field(default_factory=CommunicationConfig)
    epochs: int = _field(30, "Largest number of passes over the training split.")
    global_batch_size: int = _field(
        256, "Records of one optimizer step, over all ranks together; a multiple of the number of ranks."
    )
    best_metric: str = _field(
        "macro_f1",
        "Validation score that chooses the best checkpoint: one of `selection_scores` in "
        "bigearth_tf/evaluation/metric_table.py; auto: micro_f1, or for single-label data accuracy, which is its "
        "micro F1.",
    )
    early_stopping_epochs: int = _field(0, "The run ends after this many epochs without a better score; 0: never.")
    precision: str = _field("float32", "float32, mixed_bfloat16 or mixed_float16 (with loss scaling).")
    xla: bool = _field(False, "Whether to compile the loss and its gradients with XLA.")
    steps_per_execution: int = _field(
        1, "Number of steps from one check of the clock, the signals and the loss to the next."
    )
    checkpoint_minutes: float = _field(
        10.0, "Minutes between two checkpoints within an epoch; each epoch ends with one."
    )
    checkpoint_steps: int = _field(0, "Steps between two checkpoints within an epoch; 0: by the clock only.")
    seed: int = _field(42, "Seed of initial weights, order of records, augmentation and dropout.")


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
    """Checks that each value has the type of its field and is allowed.

    Raises:
        ValueError: A field is of another type, is out of range, or is not one of its allowed words.
    """
    check_types(config)
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


def list_fields(config: type = TrainConfig, prefix: str = "") -> Iterator[Field]:
    """Yields the fields of a config and of its parts, in their order."""
    for field in dataclasses.fields(config):
        assert isinstance(field.type, type)
        if dataclasses.is_dataclass(field.type):
            yield from list_fields(field.type, f"{prefix}{field.name}.")
        else:
            yield Field(f"{prefix}{field.name}", field.type, field.default, field.metadata["meaning"])


def check_types(config: Any, kind: type = TrainConfig, name: str = "") -> None:
    """Checks that each field of a config, or of a part of it that has a name, has a value of its type.

    Raises:
        ValueError: A field has another type; names it.
    """
    accepted = (int, float) if kind is float else kind
    if not isinstance(config, accepted) or (kind is not bool and isinstance(config, bool)):
        raise ValueError(f"{name or 'config'}={config!r}: expected {kind.__name__}, not {type(config).__name__}.")
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        assert isinstance(field.type, type)
        check_types(getattr(config, field.name), field.type, f"{name}.{field.name}".lstrip("."))


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
