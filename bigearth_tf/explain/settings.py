"""What an explanation depends on beside the model's weights: the methods, their settings, and what the model takes."""

from __future__ import annotations

import dataclasses

from bigearth_tf.data.datasets import find_level
from bigearth_tf.explain.occlusion import Windows
from bigearth_tf.runs.record import RunSettings
from bigearth_tf.serving.model_inputs import ModelInputs

METHODS = ("grad_cam", "occlusion", "integrated_gradients")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the methods: the windows of occlusion, the steps of integrated gradients, and the batch size."""

    windows: Windows = dataclasses.field(default_factory=Windows)
    steps: int = 64
    batch_size: int = 32

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: A number is below 1.
        """
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"{self.steps} steps and batches of {self.batch_size}: at least 1 is needed.")


def describe_inputs(run: RunSettings) -> ModelInputs:
    """Returns what the model of a run takes and returns."""
    trained_on = run.dataset
    return ModelInputs(
        bands=trained_on.bands,
        class_names=trained_on.class_names,
        label_kind=trained_on.label_kind,
        dataset=trained_on.name,
        level=find_level(trained_on.name),
    )
