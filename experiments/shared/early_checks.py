"""Checks of a training before TensorFlow is loaded, so that a wrong flag is reported at once."""

from __future__ import annotations

import os
from pathlib import Path

from bigearth_tf.config import TrainConfig, parse_overrides, validate
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.runtime.preconditions import require_writable
from bigearth_tf.training.resolve_config import resolve_config
from experiments.shared.light_registry import import_registry_without_tensorflow


def check_before_tensorflow(config: TrainConfig, workdir: str | os.PathLike, *, has_data: bool = True) -> None:
    """Checks the config, the model, the work folder, and whether the config fits the data; `plan_run` checks the rest.

    Args:
        config: Config with the folder of its data.
        workdir: Work folder of the run.
        has_data: Whether the data exist already.

    Raises:
        FileNotFoundError: The data set has no manifest, or a shard is missing.
        ValueError: The config is wrong or does not fit the data, or the work folder cannot be written.
    """
    if int(os.environ.get("HOROVOD_SIZE", "1")) > 1:
        return  # Ranks check all of this together, because they must also agree on it.
    validate(config)
    with import_registry_without_tensorflow() as registry:
        registry.model_config(config.model, **parse_overrides(config.model_overrides))
    if has_data:
        resolve_config(config, read_manifest(config.data.data_dir))
    require_writable(Path(workdir))
