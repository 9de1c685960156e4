"""The work folder of a run: claimed by one run, and loaded with its best model when the run is finished.

`config.json` contains, next to the config, the bands and classes of the data in their order; evaluation and export read
them there.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras

from bigearth_tf.config import AUTO, parse_overrides
from bigearth_tf.data.bands import Band
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import restore_best
from bigearth_tf.runs.record import (
    CONFIG_NAME,
    AnyResult,
    RunSettings,
    check_finished,
    read_result,
    read_settings,
    write_settings,
)


def claim(workdir: Path, settings: RunSettings) -> dict[str, Any]:
    """Writes the settings of a run into its work folder, or compares them with those that are there.

    Returns the identity of the run as the folder has it, which its checkpoints contain.

    Raises:
        ValueError: The folder belongs to a run of another config or data set.
    """
    path = workdir / CONFIG_NAME
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_settings(workdir, settings)
        return settings.identity()
    wanted, content = settings.identity(), json.loads(path.read_text(encoding="utf-8"))
    stored = {key: content.get(key) for key in wanted}
    if _resolve(stored, wanted) != wanted:
        there, here = (json.dumps(identity, indent=1, sort_keys=True).splitlines() for identity in (stored, wanted))
        difference = [line for line in difflib.ndiff(there, here) if line[0] in "+-"]
        raise ValueError(
            f"{path}: this work folder belongs to another run (- there, + here):\n"
            + "\n".join(difference)
            + "\nName another --workdir, or give that run's config and data."
        )
    return stored


def _resolve(stored: Any, wanted: Any) -> Any:
    """Returns a stored identity with the values of another one for each `auto`, which version 0.1.0 stored.

    What `auto` stands for follows from the data, and both have the same data, or differ elsewhere.
    """
    if isinstance(stored, dict) and isinstance(wanted, dict):
        return {key: _resolve(value, wanted.get(key)) for key, value in stored.items()}
    return wanted if stored == AUTO else stored


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run with its best model."""

    settings: RunSettings
    result: AnyResult
    model: keras.Model

    @property
    def bands(self) -> tuple[Band, ...]:
        """The model's inputs."""
        return self.settings.dataset.bands

    @property
    def class_names(self) -> tuple[str, ...]:
        """The model's outputs."""
        return self.settings.dataset.class_names

    def hash_weights(self) -> str:
        """Returns a SHA-256 of all weights, which identifies the model."""
        digest = hashlib.sha256()
        for weights in self.model.get_weights():
            digest.update(weights.tobytes())
        return digest.hexdigest()


def load_finished_run(workdir: str | os.PathLike) -> FinishedRun:
    """Returns a run with its best weights restored.

    Raises:
        FileNotFoundError: The run is not finished, or its checkpoint is missing.
        ValueError: This version cannot read the files of the run.
    """
    workdir = Path(workdir)
    check_finished(workdir)
    settings = read_settings(workdir)
    config, dataset = settings.config, settings.dataset
    overrides = parse_overrides(config.model_overrides)
    model = create_model(config.model, bands=dataset.bands, num_classes=len(dataset.class_names), **overrides)
    restore_best(workdir, model)
    return FinishedRun(settings, read_result(workdir), model)
