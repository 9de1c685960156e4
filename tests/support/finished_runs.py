"""Work folders of finished runs, written without training, for tests of evaluation, export and submission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from bigearth_tf.config import DataConfig, TrainConfig, parse_overrides
from bigearth_tf.data.manifest import Manifest
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import save_best
from bigearth_tf.runs.record import ConstantPrediction, RunResult, make_run_settings, write_result
from bigearth_tf.runs.work_folder import claim


def write_finished_run(
    workdir: Path, manifest: Manifest, seed: int = 0, bands: str = "RGB", **settings: Any
) -> keras.Model:
    """Writes the folder of a small model with random weights; returns the model.

    `settings` are fields of the config.
    """
    config = TrainConfig(
        model="wide_resnet_eca_b0",
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(data_dir="anywhere", bands=bands),
        **settings,
    )
    rows = manifest.select_bands(bands)
    claim(workdir, make_run_settings(config, manifest, rows))
    keras.utils.set_random_seed(seed)
    overrides = parse_overrides(config.model_overrides)
    model = create_model(config.model, bands=rows, num_classes=len(manifest.class_names), **overrides)
    save_best(workdir, model)
    result = RunResult(
        model=config.model,
        num_parameters=model.count_params(),
        best_epoch=1,
        epochs=1,
        train_seconds=0.0,
        input_share=0.0,
        val={},
        test={},
        test_classes={},
        always_most_frequent_labels=ConstantPrediction(labels=(), test={}),
    )
    write_result(workdir, result)
    return model
