"""The settings and results of runs on disk: what 0.1.0 wrote is read, and written again the same."""

import dataclasses
import json
import tarfile

import pytest

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runs.record import (
    CONFIG_NAME,
    RESULT_NAME,
    DatasetRecord,
    ImportedResult,
    ImportOrigin,
    RunResult,
    RunSettings,
    read_result,
    read_settings,
    write_result,
    write_settings,
)
from tests.support.paths import GOLDENS


@pytest.fixture
def old_run(tmp_path):
    """The two files of a finished run of 0.1.0."""
    with tarfile.open(GOLDENS / "artifacts_0_1_0.tar.xz") as archive:
        for name in (CONFIG_NAME, RESULT_NAME):
            (tmp_path / name).write_bytes(archive.extractfile(f"artifacts/run/{name}").read())
    return tmp_path


def test_old_files_are_written_again_byte_for_byte(old_run, tmp_path):
    settings, result = read_settings(old_run), read_result(old_run)
    assert isinstance(result, RunResult)
    assert settings.config.data.bands == "MM"
    assert settings.dataset.bands == get_bands("MM")
    (tmp_path / "again").mkdir()
    write_settings(tmp_path / "again", settings)
    write_result(tmp_path / "again", result)
    for name in (CONFIG_NAME, RESULT_NAME):
        assert (tmp_path / "again" / name).read_bytes() == (old_run / name).read_bytes()


def test_the_identity_of_a_run_has_neither_places_nor_versions(old_run):
    content = json.loads((old_run / CONFIG_NAME).read_text())
    settings = RunSettings.from_json(content)
    settings.config.data.data_dir = "elsewhere"
    assert settings.identity() == {key: content[key] for key in ("config", "dataset")}


IMPORTED_SETTINGS = {
    "config": {"model": "vit_20", "model_overrides": "depth=3"},
    "dataset": {
        "name": "bigearthnet_v1",
        "source": "BigEarthNet",
        "licence": "CDLA-Permissive-1.0",
        "label_kind": "multi",
        "class_names": ["Pastures", "Marine waters"],
        "bands": [dataclasses.asdict(band) for band in get_bands("RGB")],
        "num_records": {"train": 3, "val": 2, "test": 1},
    },
    "versions": {"python": "3.11.7"},
    "git_commit": None,
}
IMPORTED_RESULT = {
    "model": "vit_20",
    "num_parameters": 7,
    "imported_from": {
        "file": "ViT_20.zip",
        "checkpoint": "checkpoints-4",
        "sha256": {"checkpoints-4.data-00000-of-00001": "00"},
        "published_name": None,
        "paper": "https://arxiv.org/abs/2111.09451",
        "repository": "https://github.com/Orion-AI-Lab/EfficientBigEarthNet",
        "recognised": "vit_20",
        "remarks": ["It has a remark."],
    },
}


def test_an_imported_run_has_the_defaults_of_a_config_and_no_scores():
    settings = RunSettings.from_json(IMPORTED_SETTINGS)
    assert settings.config == TrainConfig(model="vit_20", model_overrides="depth=3")
    assert settings.dataset.shards_sha256 is None
    assert settings.to_json() == IMPORTED_SETTINGS
    assert list(settings.to_json()["dataset"]) == list(IMPORTED_SETTINGS["dataset"])
    result = ImportedResult.from_json(IMPORTED_RESULT)
    assert isinstance(result.imported_from, ImportOrigin)
    assert result.to_json() == IMPORTED_RESULT


def test_a_result_is_one_of_a_run_or_of_an_import(old_run, tmp_path):
    assert isinstance(read_result(old_run), RunResult)
    (tmp_path / RESULT_NAME).write_text(json.dumps(IMPORTED_RESULT))
    assert isinstance(read_result(tmp_path), ImportedResult)


@pytest.mark.parametrize("text", ["{}", "[", '{"config": {"speed": 3}}', "[]", '{"imported_from": 3}'])
def test_what_is_neither_is_an_error_that_names_the_file(tmp_path, text):
    for name, read in ((CONFIG_NAME, read_settings), (RESULT_NAME, read_result)):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}: this version cannot read the file"):
            read(tmp_path)


def test_an_infinite_field_of_a_config_is_recorded(tmp_path):
    config = TrainConfig(checkpoint_minutes=float("inf"))
    dataset = DatasetRecord("name", "source", "licence", LabelKind.MULTI, (), (), {}, shards_sha256="0")
    settings = RunSettings(config, dataset, versions={}, git_commit="f645885")
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings
