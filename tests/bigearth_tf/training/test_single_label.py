"""Single-label data from end to end: training, scores, evaluation, export and prediction."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import DataConfig, LossConfig, ScheduleConfig, TrainConfig
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.predict_run import predict_run
from bigearth_tf.evaluation.prediction_table import read_predictions
from bigearth_tf.evaluation.report import EvaluationOptions, evaluate_table
from bigearth_tf.serving.export import export_run
from bigearth_tf.serving.predictor import Predictor
from bigearth_tf.training.train import train
from tests.support import warm_python
from tests.support.archives import write_pair
from tests.support.paths import REPOSITORY
from tests.support.records import Labels, write_records


def make_config(folder, **changes):
    return TrainConfig(
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(data_dir=str(folder), shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3),
        epochs=4,
        global_batch_size=8,
        **{"best_metric": "auto", **changes},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    counts = {"train": 48, "val": 12, "test": 15}
    write_records(folder / "records", counts, labels=Labels(LabelKind.SINGLE, CLASSES_19))
    return folder, train(make_config(folder / "records"), folder / "run", Replica())


@pytest.fixture(scope="module")
def exported(run):
    return export_run(run[0] / "run", run[0] / "model")


def test_it_learns_and_reports_accuracy(run):
    folder, result = run
    assert result.to_json() == json.loads((folder / "run" / "result.json").read_text())
    constant = result.always_most_frequent_labels
    assert len(constant.labels) == 1
    assert constant.test["accuracy"] == pytest.approx(1 / 3)
    assert result.test["accuracy"] > 0.6
    assert "micro_f1" not in result.test
    config = json.loads((folder / "run" / "config.json").read_text())["config"]
    assert (config["best_metric"], config["loss"]["name"]) == ("accuracy", "softmax")
    assert config["data"]["bands"] == "B04,B03,B02"
    first = json.loads((folder / "run" / "history.jsonl").read_text().splitlines()[0])
    # The loss of a softmax over 19 classes before training, not of 19 binary decisions.
    assert first["loss"] == pytest.approx(np.log(19), rel=0.3)


def test_evaluation_predicts_one_class_for_each_record(run):
    folder, result = run
    found = predict_run(folder / "run", folder / "records", "test", Replica())
    assert found.scored.label_kind is LabelKind.SINGLE
    np.testing.assert_allclose(found.scored.table.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    scores = evaluate_table(found.scored, options=EvaluationOptions(5, 5))
    (decision,) = scores["decisions"].values()
    assert decision["scores"]["accuracy"]["value"] == pytest.approx(result.test["accuracy"])


def test_scores_and_losses_of_multi_label_data_are_refused(run, tmp_path):
    for changes, message in (
        ({"best_metric": "micro_f1"}, "best_metric='micro_f1'.*accuracy"),
        ({"loss": LossConfig(name="binary_cross_entropy")}, "does not fit single-label data; allowed: auto, softmax"),
    ):
        with pytest.raises(ValueError, match=message):
            train(make_config(run[0] / "records", **changes), tmp_path / "run", Replica())


def test_an_exported_model_predicts_the_most_probable_class_even_below_one_half(exported):
    predictor = Predictor(exported)
    assert predictor.label_kind is LabelKind.SINGLE
    unsure = np.float32([[0.3, 0.4, 0.3], [0.5, 0.5, 0.0]])
    assert predictor.decide(unsure).tolist() == [[False, True, False], [True, False, False]]


def test_the_command_prints_one_class_for_each_patch(exported, tmp_path):
    s2, _ = write_pair(tmp_path, 0, ["Pastures"])
    command = ["-m", "experiments.predict", f"--model_dir={exported}", f"--s2={s2.parent}", "--csv"]
    result = warm_python.run([*command, f"--output_dir={tmp_path / 'out'}"], cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr[-2000:]
    (said,) = [line for line in result.stdout.splitlines() if "predicted" in line]
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    probabilities = np.array([float(row[f"probability/{name}"]) for name in CLASSES_19])
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)
    most_probable = CLASSES_19[int(np.argmax(probabilities))]
    assert said.split("predicted")[1].strip() == f"{most_probable} {probabilities.max():.2f}"
    assert (row["true_labels"], row["predicted"]) == ("Pastures", most_probable)
    assert [name for name in CLASSES_19 if row[f"decision/{name}"] == "true"] == [most_probable]
    stored = read_predictions(tmp_path / "out")
    assert (stored.label_kind, stored.table.patch_ids.tolist()) == (LabelKind.SINGLE, [row["patch_id"]])
    np.testing.assert_array_equal(stored.table.probabilities[0], probabilities.astype(np.float32))
    for name in ("predictions.png", "predictions.pdf"):
        assert (tmp_path / "out" / name).stat().st_size > 10_000


def test_a_model_without_its_card_is_refused(exported, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
    with pytest.raises(FileNotFoundError, match=r"model_card.json: missing; it belongs to the model"):
        Predictor(tmp_path / "model")
