"""Evaluation of a finished run: the files of the report, and the folder that they are written to."""

import json

import numpy as np
import pytest

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.evaluation.evaluate_run import write_report
from bigearth_tf.evaluation.predict_run import RunPredictions
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions, read_predictions
from bigearth_tf.evaluation.report import EvaluationOptions, write_evaluation
from bigearth_tf.evaluation.report_folder import choose_report_folder
from bigearth_tf.runs.record import digest_shards
from tests.support.records import write_records


def test_the_report_is_written(tmp_path):
    rng = np.random.default_rng(0)
    tables = [
        Predictions(
            np.array([f"{split}{index}" for index in range(20)]),
            (rng.random((20, 3)) < 0.4).astype(np.float32),
            rng.random((20, 3)).astype(np.float32),
        )
        for split in ("test", "val")
    ]
    about = {"model": "m", "dataset": "d", "source": "s", "split": "test", "thresholds": "Tuned.", "shards_sha256": "0"}
    predicted = RunPredictions(about, NamedPredictions(tables[0], ("a", "b", "c"), LabelKind.MULTI), tables[1])
    report = write_report(predicted, tmp_path / "new" / "folder", EvaluationOptions(20, 5, seed=3))
    assert report.folder == tmp_path / "new" / "folder"
    assert {"evaluation.md", "evaluation.json", "predictions.parquet"} < set(report.files)
    assert set(report.files) == {path.name for path in report.folder.iterdir()}
    assert json.loads((report.folder / "evaluation.json").read_text()) == report.evaluation
    assert report.evaluation["about"] == about
    assert (report.evaluation["bootstrap"]["draws"], report.evaluation["bootstrap"]["seed"]) == (20, 3)
    assert list(report.evaluation["decisions"]) == ["fixed", "tuned"]
    assert read_predictions(report.folder).table.patch_ids.tolist() == tables[0].patch_ids.tolist()


def test_the_evaluation_of_other_records_is_not_overwritten(tmp_path):
    records = tmp_path / "records"
    write_records(records, {"val": 5, "test": 7})
    assert choose_report_folder(tmp_path, records, "test") == tmp_path / "evaluation" / "test"
    about = {
        "dataset": "test",
        "split": "test",
        "shards_sha256": digest_shards(ShardedDataset.open(records).shards("test")),
    }
    write_evaluation({"about": about}, tmp_path)
    assert choose_report_folder("anywhere", records, "test", str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="is the evaluation of other records, of test, test. Name another --output"):
        choose_report_folder("anywhere", records, "val", str(tmp_path))
