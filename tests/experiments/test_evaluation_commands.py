"""Tests of the commands that evaluate and compare runs."""

import json
import os

import pytest

from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.evaluate_run import evaluate_run
from bigearth_tf.evaluation.prediction_table import read_predictions
from bigearth_tf.evaluation.report import EvaluationOptions
from tests.support import warm_python
from tests.support.finished_runs import write_finished_run
from tests.support.paths import REPOSITORY
from tests.support.records import CLASS_NAMES, Labels, write_records

LABELS = Labels(class_names=(*CLASS_NAMES, "absent"))


def run(command, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return warm_python.run(["-m", command, *arguments], env=environment)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Returns a folder with a run that the command has evaluated, and one that the library has evaluated."""
    folder = tmp_path_factory.mktemp("evaluated")
    manifest = write_records(folder / "records", {"train": 4, "val": 6, "test": 9}, labels=LABELS)
    for seed in (0, 1):
        write_finished_run(folder / f"run{seed}", manifest, seed=seed)
    result = run(
        "experiments.evaluate", f"--workdir={folder}/run0", f"--data_dir={folder}/records",
        "--draws=20", "--ranking_draws=5",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("test, tuned thresholds: micro F1 ")]
    assert ", macro F1 " in line and ", macro (classes with records) F1 " in line
    assert "1 of 4 classes have no record in test: they count as 0 in macro scores" in result.stdout
    evaluate_run(folder / "run1", folder / "records", "test", Replica(), options=EvaluationOptions(20, 5))
    return folder


def test_a_report_is_written(evaluated):
    output = evaluated / "run0" / "evaluation" / "test"
    stems = ("f1_by_class", "precision_recall", "calibration", "errors")
    pictures = {f"{stem}.png" for stem in stems}
    assert {path.name for path in output.iterdir()} == {
        "predictions.parquet", "evaluation.json", "evaluation.md", "ranks", *pictures,
        *(f"{stem}.pdf" for stem in stems),
    }  # fmt: skip
    for name in pictures:
        assert (output / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in (output / "evaluation.md").read_text()
    assert len(read_predictions(output).table.patch_ids) == 9
    evaluation = json.loads((output / "evaluation.json").read_text())
    assert evaluation["about"]["split"] == "test"
    assert set(evaluation["decisions"]) == {"fixed", "tuned"}
    assert evaluation["classes_without_records"] == ["absent"]
    scores = evaluation["decisions"]["fixed"]["scores"]
    assert scores["macro_f1"]["value"] == pytest.approx(scores["macro_present_f1"]["value"] * 3 / 4)
    assert "a class without records counts as 0" in evaluation["averages"]["macro"]
    assert str(evaluated) not in (output / "evaluation.json").read_text()


@pytest.mark.parametrize("thresholds", ["fixed", "tuned"])
def test_two_runs_are_compared(evaluated, tmp_path, thresholds):
    folders = [evaluated / f"run{seed}" / "evaluation" / "test" for seed in (0, 1)]
    result = run(
        "experiments.compare", f"--first={folders[0]}", f"--second={folders[1]}/predictions.parquet",
        "--metric=micro_f1", f"--thresholds={thresholds}", "--draws=50", f"--output={tmp_path}/found.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for number, name in enumerate(("first", "second")):
        evaluation = json.loads((folders[number] / "evaluation.json").read_text())
        assert found[name] == evaluation["decisions"][thresholds]["scores"]["micro_f1"]["value"]
    assert f"{found['difference']:+.4f}" in result.stdout


def test_an_error_is_one_message(evaluated, tmp_path):
    write_records(tmp_path / "other", {"train": 3, "test": 4}, seed=3, labels=LABELS)
    here, test = evaluated / "run0", evaluated / "run0" / "evaluation" / "test"
    for command, arguments, message in (
        ("evaluate", [f"--workdir={here}", f"--data_dir={tmp_path}/other"], "is the evaluation of other records"),
        ("compare", [f"--first={test}", "--second=nowhere"], "error: nowhere: missing"),
        ("compare", [f"--first={test}", f"--second={test}", "--metric=best"], "metric='best': unknown"),
    ):
        result = run(f"experiments.{command}", *arguments)
        assert result.returncode == 1, message
        assert message in result.stderr
        assert "Traceback" not in result.stderr
