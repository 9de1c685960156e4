"""What does the work folder of a run hold? Its settings, its result, and its best model, each to be found again.

`config.json` carries, beside the config, the bands and classes of the data in their order: whatever is made from the
run takes them from there.
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

from bigearth_tf.config import TrainConfig, parse_overrides
from bigearth_tf.data.bands import Band
from bigearth_tf.data.manifest import Manifest
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import restore_best
from bigearth_tf.runtime.files import write_text_atomically
from bigearth_tf.runtime.provenance import git_commit, package_versions

CONFIG_NAME = "config.json"
RESULT_NAME = "result.json"


def claim(workdir: Path, config: TrainConfig, manifest: Manifest, bands: tuple[Band, ...]) -> None:
    """Writes what decides the run into its work folder, or holds it against what is there.

    Raises:
        ValueError: The folder belongs to a run of another config or data set.
    """
    settings = settings_of(config, manifest, bands)
    path = workdir / CONFIG_NAME
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        content = {**settings, "versions": package_versions(), "git_commit": git_commit()}
        write_text_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    held = {key: held.get(key) for key in settings}
    if held != settings:
        there, here = (json.dumps(content, indent=1, sort_keys=True).splitlines() for content in (held, settings))
        difference = [line for line in difflib.ndiff(there, here) if line[0] in "+-"]
        raise ValueError(
            f"{path}: this work folder belongs to another run (- there, + here):\n"
            + "\n".join(difference)
            + "\nName another --workdir, or give that run's config and data."
        )


def settings_of(config: TrainConfig, manifest: Manifest, bands: tuple[Band, ...]) -> dict[str, Any]:
    """Returns what decides a run: its config without the place of its data, and what the data are."""
    content = dataclasses.asdict(config)
    content["data"].pop("data_dir")  # Data may move: its content is compared instead.
    shards = [[shard.name, shard.sha256] for shard in manifest.shards]
    dataset = {
        "name": manifest.dataset,
        "source": manifest.source,
        "licence": manifest.licence,
        "label_kind": manifest.label_kind,
        "class_names": list(manifest.class_names),
        "bands": [dataclasses.asdict(band) for band in bands],
        "num_records": {split: manifest.num_records(split) for split in manifest.splits},
        "shards_sha256": hashlib.sha256(json.dumps(shards).encode()).hexdigest(),
    }
    return {"config": content, "dataset": dataset}


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run whose result is written: `settings` and `result` as their files hold them, and the best model."""

    settings: dict[str, Any]
    result: dict[str, Any]
    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    model: keras.Model


def load_finished_run(workdir: str | os.PathLike) -> FinishedRun:
    """Returns a run with its best weights restored.

    Raises:
        FileNotFoundError: The run has not ended, or its checkpoint is gone.
    """
    workdir = Path(workdir)
    for name in (CONFIG_NAME, RESULT_NAME):
        if not (workdir / name).exists():
            raise FileNotFoundError(
                f"{workdir / name}: missing. Name the --workdir of a run that has ended; "
                "`python -m experiments.train` with the same arguments ends one that was interrupted."
            )
    settings = json.loads((workdir / CONFIG_NAME).read_text(encoding="utf-8"))
    bands = tuple(Band(**row) for row in settings["dataset"]["bands"])
    class_names = tuple(settings["dataset"]["class_names"])
    config = settings["config"]
    overrides = parse_overrides(config["model_overrides"])
    model = create_model(config["model"], bands=bands, num_classes=len(class_names), **overrides)
    restore_best(workdir, model)
    result = json.loads((workdir / RESULT_NAME).read_text(encoding="utf-8"))
    return FinishedRun(settings, result, bands, class_names, model)
