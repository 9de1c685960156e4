"""The records of a run in its work folder: its settings in `config.json`, its result in `result.json`.

For each type, `to_json` and `from_json` are exact inverses. This module loads no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest, Shard
from bigearth_tf.runtime.files import write_text_atomically
from bigearth_tf.runtime.provenance import git_commit, package_versions

CONFIG_NAME = "config.json"
RESULT_NAME = "result.json"


@dataclasses.dataclass(frozen=True)
class DatasetRecord:
    """The data that a model was trained on.

    `class_names` and `bands` are in the order of the model's outputs and inputs. `shards_sha256` identifies the content
    of all shards; it is None for an imported model, which was not trained on shards.
    """

    name: str
    source: str
    licence: str
    label_kind: LabelKind
    class_names: tuple[str, ...]
    bands: tuple[Band, ...]
    num_records: dict[str, int]
    shards_sha256: Optional[str] = None

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `dataset` in `config.json`."""
        content = {**dataclasses.asdict(self), "class_names": list(self.class_names)}
        content["bands"] = [dataclasses.asdict(band) for band in self.bands]
        if self.shards_sha256 is None:
            del content["shards_sha256"]
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> DatasetRecord:
        """Returns the record that `to_json` describes."""
        bands = tuple(Band(**row) for row in content["bands"])
        return cls(
            **{
                **content,
                "label_kind": LabelKind(content["label_kind"]),
                "class_names": tuple(content["class_names"]),
                "bands": bands,
            }
        )


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What defines a run, and the software that it started with.

    `config` has no `data_dir`, because data may move. For an imported model only `model` and `model_overrides` of the
    config are recorded; the other fields have their defaults.
    """

    config: TrainConfig
    dataset: DatasetRecord
    versions: dict[str, str]
    git_commit: Optional[str]

    def identity(self) -> dict[str, Any]:
        """Returns, as JSON, what two runs must share to be the same run: config and data, not software."""
        config = dataclasses.asdict(self.config)
        del config["data"]["data_dir"]
        if self.dataset.shards_sha256 is None:
            config = {"model": self.config.model, "model_overrides": self.config.model_overrides}
        return {"config": config, "dataset": self.dataset.to_json()}

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `config.json`."""
        return {**self.identity(), "versions": self.versions, "git_commit": self.git_commit}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RunSettings:
        """Returns the settings that `to_json` describes; a field of the config that is missing has its default."""
        config, dataset = _config_from_json(content["config"]), DatasetRecord.from_json(content["dataset"])
        return cls(config, dataset, content["versions"], content["git_commit"])


@dataclasses.dataclass(frozen=True)
class ConstantPrediction:
    """The labels with the best score if they are predicted for every record, and their scores on the test split."""

    labels: tuple[str, ...]
    test: dict[str, float]


@dataclasses.dataclass(frozen=True)
class RunResult:
    """The result of a training run; all scores are those of its best checkpoint.

    `best_epoch` counts from 1. `input_share` is the share of `train_seconds` that was spent waiting for input. `val`
    and `test` are the scores of `compute_scores`, `test_classes` those of `compute_class_scores`.
    `classes_without_records` are the names of the classes that no record of "val" or "test" has, and `averages` says
    how each average of the scores treats them; both are empty in the results of version 0.1.0.
    """

    model: str
    num_parameters: int
    best_epoch: int
    epochs: int
    train_seconds: float
    input_share: float
    val: dict[str, float]
    test: dict[str, float]
    test_classes: dict[str, dict[str, Optional[float]]]
    always_most_frequent_labels: ConstantPrediction
    classes_without_records: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    averages: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `result.json`."""
        content = dataclasses.asdict(self)
        content["always_most_frequent_labels"]["labels"] = list(self.always_most_frequent_labels.labels)
        if not self.averages:
            del content["classes_without_records"], content["averages"]
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RunResult:
        """Returns the result that `to_json` describes."""
        constant = content["always_most_frequent_labels"]
        constant = ConstantPrediction(tuple(constant["labels"]), constant["test"])
        return cls(**{**content, "always_most_frequent_labels": constant})


@dataclasses.dataclass(frozen=True)
class ImportOrigin:
    """Where the weights of an imported model come from.

    `sha256` has the name and the digest of each data file of the checkpoint. `published_name` is None for a model that
    was not published. `recognised` describes the architecture; `remarks` are sentences for people.
    """

    file: str
    checkpoint: str
    sha256: dict[str, str]
    published_name: Optional[str]
    paper: str
    repository: str
    recognised: str
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `imported_from` in `result.json`."""
        return {**dataclasses.asdict(self), "remarks": list(self.remarks)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ImportOrigin:
        """Returns the origin that `to_json` describes."""
        return cls(**{**content, "remarks": tuple(content["remarks"])})


@dataclasses.dataclass(frozen=True)
class ImportedResult:
    """In place of a `RunResult`, for a model that was imported: it has an origin and no scores."""

    model: str
    num_parameters: int
    imported_from: ImportOrigin

    def to_json(self) -> dict[str, Any]:
        """Returns the content of `result.json`."""
        return {**dataclasses.asdict(self), "imported_from": self.imported_from.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ImportedResult:
        """Returns the result that `to_json` describes."""
        return cls(**{**content, "imported_from": ImportOrigin.from_json(content["imported_from"])})


AnyResult = Union[RunResult, ImportedResult]


def make_run_settings(config: TrainConfig, manifest: Manifest, bands: tuple[Band, ...]) -> RunSettings:
    """Returns the settings of a run of this software.

    Args:
        config: Config of the run.
        manifest: Manifest of its data.
        bands: Rows of the bands that the model takes.
    """
    dataset = DatasetRecord(
        name=manifest.dataset,
        source=manifest.source,
        licence=manifest.licence,
        label_kind=manifest.label_kind,
        class_names=tuple(manifest.class_names),
        bands=bands,
        num_records={split: manifest.num_records(split) for split in manifest.splits},
        shards_sha256=digest_shards(manifest.shards),
    )
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=""))
    return RunSettings(config, dataset, package_versions(), git_commit())


def digest_shards(shards: Sequence[Shard]) -> str:
    """Returns a SHA-256 of the names and the content of shards, in their order."""
    rows = [[shard.name, shard.sha256] for shard in shards]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def write_settings(workdir: Path, settings: RunSettings) -> None:
    """Writes `config.json`."""
    _write(workdir / CONFIG_NAME, settings.to_json())


def write_result(workdir: Path, result: AnyResult) -> None:
    """Writes `result.json`."""
    _write(workdir / RESULT_NAME, result.to_json())


def check_finished(workdir: Path) -> None:
    """Checks that a work folder has the settings and the result of a run.

    Raises:
        FileNotFoundError: The run is not finished.
    """
    for name in (CONFIG_NAME, RESULT_NAME):
        if not (workdir / name).exists():
            raise FileNotFoundError(
                f"{workdir / name}: missing. Name the --workdir of a finished run; "
                "`python -m experiments.train` with the same arguments finishes one that was interrupted."
            )


def read_settings(workdir: Path) -> RunSettings:
    """Returns the settings of a run.

    Raises:
        FileNotFoundError: There is no `config.json`.
        ValueError: This version cannot read the file.
    """
    return _read(workdir / CONFIG_NAME, RunSettings.from_json)


def read_result(workdir: Path) -> AnyResult:
    """Returns the result of a run or of an import.

    Raises:
        FileNotFoundError: There is no `result.json`.
        ValueError: This version cannot read the file.
    """
    return _read(
        workdir / RESULT_NAME, lambda row: (ImportedResult if "imported_from" in row else RunResult).from_json(row)
    )


def _read(path: Path, from_json: Any) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        return from_json(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: this version cannot read the file ({error!r}).") from error


def _write(path: Path, content: dict[str, Any]) -> None:
    # A config may have infinite fields, such as checkpoint_minutes, which write_json_atomically refuses.
    write_text_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _config_from_json(content: dict[str, Any]) -> TrainConfig:
    fields: dict[str, Any] = dict(content)
    for field in dataclasses.fields(TrainConfig):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type) and field.name in content:
            fields[field.name] = field.type(**content[field.name])
    return TrainConfig(**fields)
