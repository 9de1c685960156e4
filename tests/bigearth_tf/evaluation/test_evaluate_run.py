"""Evaluation of a finished run: the files of the report, and the folder that they are written to."""

import json

import pytest

from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.evaluate_run import choose_report_folder, evaluate_run
from bigearth_tf.evaluation.predict_run import shards_digest
from bigearth_tf.evaluation.prediction_table import read_predictions
from bigearth_tf.evaluation.report import EvaluationOptions, write_evaluation
from tests.support.finished_runs import write_finished_run
from tests.support.records import write_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "data"
    write_records(folder, {"train": 4, "val": 5, "test": 7})
    return folder


def test_the_report_is_written(records, tmp_path):
    write_finished_run(tmp_path / "run", ShardedDataset.open(records).manifest)
    report = evaluate_run(tmp_path / "run", records, "test", Replica(), options=EvaluationOptions(20, 5, seed=3))
    assert report.folder == tmp_path / "run" / "evaluation" / "test"
    assert {"evaluation.md", "evaluation.json", "predictions.parquet"} < set(report.files)
    assert set(report.files) <= {path.name for path in report.folder.iterdir()}
    assert json.loads((report.folder / "evaluation.json").read_text()) == report.evaluation
    assert report.evaluation["about"]["shards_sha256"] == shards_digest(ShardedDataset.open(records), "test")
    assert (report.evaluation["bootstrap"]["draws"], report.evaluation["bootstrap"]["seed"]) == (20, 3)
    assert len(read_predictions(report.folder).table.patch_ids) == report.evaluation["num_records"] == 7


def test_the_evaluation_of_other_records_is_not_overwritten(records, tmp_path):
    assert choose_report_folder(tmp_path, records, "test") == tmp_path / "evaluation" / "test"
    about = {"dataset": "test", "split": "test", "shards_sha256": shards_digest(ShardedDataset.open(records), "test")}
    write_evaluation({"about": about}, tmp_path)
    assert choose_report_folder("anywhere", records, "test", str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="is the evaluation of other records, of test, test. Name another --output"):
        choose_report_folder("anywhere", records, "val", str(tmp_path))
