"""What version 0.1.0 wrote is still read: records, manifests, work folders, evaluations and exports.

`tests/goldens/artifacts_0_1_0.tar.xz` was written by the commands of 0.1.0 (commit f645885) on constant patches: 16
pairs in our records, 4 patches in each int64 schema, a finished run with its evaluation and its export, a run that
was stopped by SIGTERM in its second epoch, and the result of that run after 0.1.0 resumed it.
"""

import csv
import json
import shutil
import tarfile

import numpy as np
import pytest

from bigearth_tf import config as configs
from bigearth_tf.data import bands as bands_of
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.prediction_table import read_predictions
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.runs.record import RunResult
from bigearth_tf.serving.export import export_run
from bigearth_tf.serving.predictor import Predictor
from bigearth_tf.training.train import train
from tests.support.archives import constant_pixels
from tests.support.paths import GOLDENS

ARCHIVE = GOLDENS / "artifacts_0_1_0.tar.xz"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder / "artifacts"


def expected_probabilities(artifacts):
    with (artifacts / "expected" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return names[2:], {row[0]: np.array(row[2:], np.float32) for row in rows}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("records", {"test": 4, "train": 8, "val": 4}),
        ("int64_s2", {"test": 1, "train": 2, "val": 1}),
        ("int64_mm", {"test": 1, "train": 2, "val": 1}),
    ],
)
def test_records_and_manifests(artifacts, name, counts):
    manifest = read_manifest(artifacts / name)
    assert {split: manifest.num_records(split) for split in manifest.splits} == counts
    for split, count in counts.items():
        batches = make_eval_dataset(
            ShardedDataset(artifacts / name, manifest), split, manifest.bands, batch_size=count, replica=Replica()
        )
        (batch,) = batches
        assert batch["labels"].numpy().any(axis=1).all()
        for band in manifest.bands:
            expected = np.broadcast_to(constant_pixels(bands_of.BANDS[band.name]), batch["bands"][band.name].shape)
            np.testing.assert_array_equal(batch["bands"][band.name], expected)


def test_an_export_predicts_the_same(artifacts):
    check_predictions(artifacts, artifacts / "model")


def test_a_finished_run_exports_to_the_same_model(artifacts, tmp_path):
    check_predictions(artifacts, export_run(artifacts / "run", tmp_path / "model"))


def check_predictions(artifacts, folder):
    predictor = Predictor(folder)
    class_names, rows = expected_probabilities(artifacts)
    assert list(predictor.class_names) == class_names
    patch = {name: constant_pixels(bands_of.BANDS[name]) for name in predictor.inputs}
    (probabilities,) = predictor([patch])
    for row in rows.values():  # All patches have the same pixels; the file has six digits.
        np.testing.assert_allclose(probabilities, row, atol=2e-6)


def test_an_evaluation_is_read(artifacts):
    stored = read_predictions(artifacts / "run" / "evaluation" / "test")
    class_names, rows = expected_probabilities(artifacts)
    assert list(stored.class_names) == class_names
    assert len(stored.table.patch_ids) == 4
    for patch_id, row in zip(stored.table.patch_ids, stored.table.probabilities):
        np.testing.assert_allclose(row, rows[patch_id], atol=2e-6)


def test_a_stopped_run_continues_to_the_same_end(artifacts, tmp_path):
    workdir = shutil.copytree(artifacts / "stopped_run", tmp_path / "run")
    held = json.loads((workdir / "config.json").read_text())["config"]
    config = config_of(held, data_dir=str(artifacts / "records"))
    result = train(config, workdir, Replica())
    expected = json.loads((artifacts / "expected" / "resumed_result.json").read_text())
    added = {"classes_without_records", "averages"}
    assert result.to_json().keys() == expected.keys() | added
    assert RunResult.from_json(expected).best_epoch == result.best_epoch
    assert (result.best_epoch, result.epochs) == (expected["best_epoch"], expected["epochs"])
    lines = [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]
    held = [json.loads(line) for line in (artifacts / "expected" / "resumed_history.jsonl").read_text().splitlines()]
    assert [line.keys() for line in lines] == [line.keys() for line in held]
    # On the processor that wrote it every digit is the same; others round in another order.
    for line, old in zip(lines, held):
        assert line["step"] == old["step"]
        assert line["loss"] == pytest.approx(old["loss"], rel=1e-4)


def config_of(held, data_dir):
    """Returns the config that a work folder holds as JSON, with a data folder."""
    nested = {"data": configs.DataConfig, "loss": configs.LossConfig, "optimizer": configs.OptimizerConfig,
              "schedule": configs.ScheduleConfig, "communication": configs.CommunicationConfig}  # fmt: skip
    fields = {key: nested[key](**value) if key in nested else value for key, value in held.items()}
    fields["data"].data_dir = data_dir
    return configs.TrainConfig(**fields)
