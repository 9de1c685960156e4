"""How does a published checkpoint become ours? As a finished run, to export and predict with, and as a SavedModel.

Nothing is trained and no score is known: the run has the weights, bands and classes of the file, and says whence.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import keras
from absl import logging

from bigearth_tf.checkpoint_import.architecture import Architecture, contradiction, recognize
from bigearth_tf.checkpoint_import.files import data_sha256, opened
from bigearth_tf.checkpoint_import.weights import load_weights, read_layers
from bigearth_tf.config import TrainConfig
from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.data.datasets.bigearthnet_v1 import SPEC
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import save_best
from bigearth_tf.runs.record import (
    RESULT_NAME,
    DatasetRecord,
    ImportedResult,
    ImportOrigin,
    RunSettings,
    write_result,
    write_settings,
)
from bigearth_tf.runtime.files import atomic_folder
from bigearth_tf.runtime.provenance import git_commit, package_versions
from bigearth_tf.serving.export import export_run

SAVED_MODEL_NAME = "saved_model"
REPOSITORY = "https://github.com/Orion-AI-Lab/EfficientBigEarthNet"
PAPER = "https://arxiv.org/abs/2111.09451"
# The benchmark's split: patches without snow, cloud and shadow that have a label of the 19.
_NUM_RECORDS = {"train": 269_695, "val": 123_723, "test": 125_866}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published checkpoint as a model: what it is, the model, and where it comes from for its card."""

    architecture: Architecture
    model: keras.Model
    origin: ImportOrigin


def load_published(
    path: str | os.PathLike, *, resolution_px: int | None = None, bands: Sequence[Band] | None = None
) -> Published:
    """Returns the model of a published checkpoint, with its weights.

    Args:
        path: A zip, a folder, or the prefix of a checkpoint.
        resolution_px: Side of the image of a scaled model, of which the file keeps no trace.
        bands: Rows in place of the benchmark's, of the same bands in the same order; for other statistics, say.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The file is unsafe, damaged or of no known model, or the resolution is missing or does not fit.
    """
    path = Path(path)
    with opened(path) as prefix:
        layers = read_layers(prefix)
        architecture = recognize(layers, resolution_px)
        rows = tuple(bands or get_bands(architecture.bands))
        if tuple(row.name for row in rows) != architecture.bands:
            raise ValueError(f"The bands are {', '.join(architecture.bands)}, not {', '.join(r.name for r in rows)}.")
        model = create_model(architecture.name, bands=rows, num_classes=len(CLASSES_19), **architecture.overrides)
        load_weights(model, layers, prefix)
        hashes = data_sha256(prefix)
        checkpoint = prefix.name
    remarks = [contradiction(path.stem if path.suffix else path.name, architecture)]
    if resolution_px is not None:
        remarks.append(f"resolution_px={resolution_px} was given; the file keeps no trace of it.")
    origin = ImportOrigin(
        file=path.name,
        checkpoint=checkpoint,
        sha256=hashes,
        published_name=architecture.published_name,
        paper=PAPER,
        repository=REPOSITORY,
        recognised=architecture.describe(),
        remarks=tuple(remark for remark in remarks if remark),
    )
    return Published(architecture, model, origin)


def import_checkpoint(
    path: str | os.PathLike, output_dir: str | os.PathLike, *, resolution_px: int | None = None
) -> ImportOrigin:
    """Writes a published checkpoint as a finished run with its SavedModel in `saved_model`; returns its origin.

    Written beside and renamed, so that the folder is whole whenever it is there; an earlier import is replaced.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: As for `load_published`, or `output_dir` holds something other than an import.
    """
    output_dir = Path(os.path.abspath(output_dir))
    _check_free(output_dir)
    published = load_published(path, resolution_px=resolution_px)
    for remark in published.origin.remarks:
        logging.warning("%s", remark)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(output_dir) as temporary:
        temporary.mkdir()
        save_best(temporary, published.model)
        write_settings(temporary, _settings(published))
        write_result(
            temporary,
            ImportedResult(published.architecture.name, published.model.count_params(), published.origin),
        )
        # From what was written, so that the two cannot differ.
        export_run(temporary, temporary / SAVED_MODEL_NAME)
    return published.origin


def _check_free(output_dir: Path) -> None:
    if not output_dir.exists() or (output_dir.is_dir() and not any(output_dir.iterdir())):
        return
    result = output_dir / RESULT_NAME
    if not result.is_file() or "imported_from" not in json.loads(result.read_text(encoding="utf-8")):
        raise ValueError(f"{output_dir}: holds something other than an imported model. Name another --output.")


def _settings(published: Published) -> RunSettings:
    architecture = published.architecture
    overrides = ", ".join(f"{field}={value!r}" for field, value in architecture.overrides.items())
    dataset = DatasetRecord(
        name=SPEC.name,
        source=SPEC.source,
        licence=SPEC.licence,
        label_kind=LabelKind.MULTI,
        class_names=CLASSES_19,
        bands=get_bands(architecture.bands),
        num_records=_NUM_RECORDS,
    )
    config = TrainConfig(model=architecture.name, model_overrides=overrides)
    return RunSettings(config, dataset, package_versions(), git_commit())
