"""Import of a checkpoint of the benchmark as a finished run and a SavedModel.

Nothing is trained and no score is known: the run records the weights, bands, classes and origin of the checkpoint.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras
from absl import logging

from bigearth_tf.checkpoint_import.architecture import Architecture, find_name_conflict, recognize
from bigearth_tf.checkpoint_import.early_checks import check_output_dir
from bigearth_tf.checkpoint_import.files import hash_data_files, open_checkpoint
from bigearth_tf.checkpoint_import.weights import load_weights, read_layers
from bigearth_tf.config import TrainConfig
from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.data.datasets.bigearthnet_v1 import SPEC
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import save_best
from bigearth_tf.runs.record import (
    DatasetRecord,
    ImportedResult,
    ImportOrigin,
    RunSettings,
    write_result,
    write_settings,
)
from bigearth_tf.runtime.files import atomic_folder
from bigearth_tf.runtime.locks import hold_lock_beside
from bigearth_tf.runtime.provenance import git_commit, package_versions
from bigearth_tf.serving.export import export_run

SAVED_MODEL_NAME = "saved_model"
REPOSITORY = "https://github.com/Orion-AI-Lab/EfficientBigEarthNet"
PAPER = "https://arxiv.org/abs/2111.09451"
# The benchmark's split: patches without snow, cloud and shadow that have a label of the 19.
_NUM_RECORDS = {"train": 269_695, "val": 123_723, "test": 125_866}


@dataclasses.dataclass(frozen=True)
class BenchmarkModel:
    """A model with the weights of a checkpoint of the benchmark; `origin` is for its records and its model card."""

    architecture: Architecture
    model: keras.Model
    origin: ImportOrigin


def load_benchmark_model(
    path: str | os.PathLike, *, resolution_px: int | None = None, bands: Sequence[Band] | None = None
) -> BenchmarkModel:
    """Returns the model of a checkpoint of the benchmark, with its weights.

    Args:
        path: A zip, a folder, or the prefix of a checkpoint.
        resolution_px: Side of the image of a scaled model, which the file does not determine.
        bands: Rows in place of the zoo's, for example with other statistics; the same names in the same order.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The file is unsafe, damaged or of an unknown model, or the resolution is missing or does not fit.
    """
    path = Path(path)
    with open_checkpoint(path) as prefix:
        layers = read_layers(prefix)
        architecture = recognize(layers, resolution_px)
        rows = tuple(bands or get_bands(architecture.bands))
        if tuple(row.name for row in rows) != architecture.bands:
            raise ValueError(f"The bands are {', '.join(architecture.bands)}, not {', '.join(r.name for r in rows)}.")
        model = create_model(architecture.name, bands=rows, num_classes=len(CLASSES_19), **architecture.overrides)
        load_weights(model, layers, prefix)
        hashes = hash_data_files(prefix)
        checkpoint = prefix.name
    remarks = [find_name_conflict(path.stem if path.suffix else path.name, architecture)]
    if resolution_px is not None:
        remarks.append(f"resolution_px={resolution_px} was specified; the file does not determine it.")
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
    return BenchmarkModel(architecture, model, origin)


def import_checkpoint(
    path: str | os.PathLike, output_dir: str | os.PathLike, *, resolution_px: int | None = None
) -> ImportOrigin:
    """Writes a checkpoint of the benchmark as a finished run with a SavedModel, and returns its origin.

    The SavedModel is in `output_dir / SAVED_MODEL_NAME`. The folder is complete or absent at any time; an earlier
    import in it is replaced.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: As for `load_benchmark_model`, or `output_dir` contains something other than an import, or another
            process writes it.
    """
    output_dir = Path(os.path.abspath(output_dir))
    check_output_dir(output_dir)
    imported = load_benchmark_model(path, resolution_px=resolution_px)
    for remark in imported.origin.remarks:
        logging.warning("%s", remark)
    with hold_lock_beside(output_dir), atomic_folder(output_dir) as temporary:
        temporary.mkdir()
        save_best(temporary, imported.model)
        write_settings(temporary, _make_settings(imported))
        write_result(
            temporary,
            ImportedResult(imported.architecture.name, imported.model.count_params(), imported.origin),
        )
        # Export what was written, so that the two cannot differ.
        export_run(temporary, temporary / SAVED_MODEL_NAME)
    return imported.origin


def _make_settings(imported: BenchmarkModel) -> RunSettings:
    architecture = imported.architecture
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
