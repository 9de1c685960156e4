"""Checks of trainings, runs and evaluations before TensorFlow is loaded, so that a wrong flag is reported at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from bigearth_tf.config import TrainConfig, parse_overrides, validate
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.evaluation.data_fit import check_fit
from bigearth_tf.evaluation.report_folder import choose_report_folder
from bigearth_tf.runs.record import RunSettings, check_finished, read_result, read_settings
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


def check_run_before_tensorflow(workdir: str | os.PathLike) -> RunSettings:
    """Returns the settings of a finished run after checking its files and its model.

    Raises:
        FileNotFoundError: The run is not finished.
        ValueError: This version cannot read its files, or does not know its model.
    """
    check_finished(Path(workdir))
    settings = read_settings(Path(workdir))
    read_result(Path(workdir))
    with import_registry_without_tensorflow() as registry:
        registry.model_config(settings.config.model, **parse_overrides(settings.config.model_overrides))
    return settings


def check_evaluation_before_tensorflow(
    workdir: str | os.PathLike, data_dir: str | os.PathLike, split: str, output: Optional[str]
) -> None:
    """Checks that a finished run can be evaluated on a split of a data set, and the report be written.

    Raises:
        FileNotFoundError: The run is not finished, or the data set has no manifest.
        ValueError: The run cannot be read, the data do not fit it, or the folder of the report cannot be written or
            contains another evaluation.
    """
    if int(os.environ.get("HOROVOD_SIZE", "1")) > 1:
        return  # Ranks check all of this together.
    settings = check_run_before_tensorflow(workdir)
    data = ShardedDataset.open(data_dir)
    data.shards(split)
    check_fit(settings.dataset, data)
    require_writable(choose_report_folder(workdir, data_dir, split, output))
