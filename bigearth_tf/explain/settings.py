"""The methods of explanations, and their settings."""

from __future__ import annotations

import dataclasses

from bigearth_tf.explain.occlusion import Windows

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
