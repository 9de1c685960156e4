"""Thresholds and temperature of an evaluation travel with the export: into its graph, its card and the predictor."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.evaluate_run import evaluate_run
from bigearth_tf.evaluation.report import EvaluationOptions
from bigearth_tf.evaluation.temperature import scale_probabilities
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.serving.export import export_run
from bigearth_tf.serving.predictor import Predictor
from tests.support.finished_runs import write_finished_run
from tests.support.records import CLASS_NAMES, Labels, write_records

QUICK = EvaluationOptions(draws=5, ranking_draws=2)
KINDS = ("multi", "single")


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    """A run with random weights, and its evaluations of two splits."""
    root = tmp_path_factory.mktemp(request.param)
    labels = Labels(LabelKind(request.param))
    write_records(root / "records", {"train": 6, "val": 12, "test": 12}, labels=labels)
    write_finished_run(root / "run", read_manifest(root / "records"))
    for split in ("val", "test"):
        evaluate_run(root / "run", root / "records", split, Replica(), options=QUICK)
    return root / "run"


@pytest.fixture(scope="module")
def patches():
    rng = np.random.default_rng(3)
    return {name: rng.integers(0, 4000, (20, 120, 120)).astype(np.uint16) for name in ("B02", "B03", "B04")}


def read_evaluation(run, split):
    return json.loads((run / "evaluation" / split / "evaluation.json").read_text())


def predict(folder, patches):
    model = tf.saved_model.load(str(folder))
    answer = model.signatures["serving_default"](**{name: tf.constant(pixels) for name, pixels in patches.items()})
    return answer["probabilities"].numpy(), answer["predicted"].numpy()


def test_both_evaluations_fit_the_same_on_val(run):
    fitted = read_evaluation(run, "test")["fitted"]
    assert fitted == read_evaluation(run, "val")["fitted"]
    assert (fitted["split"], fitted["num_records"]) == ("val", 12)
    assert 0 < fitted["temperature"] != 1
    assert ("thresholds" in fitted) == (run.parent.name.startswith("multi"))
    assert "tuned" not in read_evaluation(run, "val")["decisions"]
    scaled = read_evaluation(run, "test")["calibration"]["scaled"]
    assert scaled["temperature"] == fitted["temperature"]
    assert (
        f"temperature {fitted['temperature']:.3f}, fitted on val | {scaled['expected_calibration_error']:.4f}"
        in (run / "evaluation" / "test" / "evaluation.md").read_text()
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_thresholds_and_temperature_are_in_the_graph(run, split, patches, tmp_path):
    fitted = read_evaluation(run, split)["fitted"]
    model = load_finished_run(run).model
    activate = tf.sigmoid if "thresholds" in fitted else tf.nn.softmax
    plain = export_run(run, tmp_path / "plain", run / "evaluation" / split)
    scaled = export_run(run, tmp_path / "scaled", run / "evaluation" / split, calibrate=True)
    logits = model({name: tf.constant(pixels) for name, pixels in patches.items()})
    (probabilities, predicted), (scaled_probabilities, scaled_predicted) = (
        predict(folder, patches) for folder in (plain, scaled)
    )
    np.testing.assert_allclose(probabilities, activate(logits), atol=1e-6)
    np.testing.assert_allclose(scaled_probabilities, activate(logits / fitted["temperature"]), atol=1e-6)
    kind = Predictor(plain).label_kind
    np.testing.assert_allclose(
        scaled_probabilities, scale_probabilities(probabilities, fitted["temperature"], kind), atol=1e-5
    )
    # Scaling changes probabilities, and thresholds with them: the decisions stay.
    np.testing.assert_array_equal(scaled_predicted, predicted)
    if "thresholds" in fitted:
        np.testing.assert_array_equal(predicted, probabilities >= np.float32(list(fitted["thresholds"].values())))
        assert list(fitted["thresholds"]) == list(CLASS_NAMES)
    else:
        np.testing.assert_array_equal(predicted.argmax(axis=1), probabilities.argmax(axis=1))
        assert (predicted.sum(axis=1) == 1).all()
    for folder in (plain, scaled):
        predictor = Predictor(folder)
        rows, decided = predict(folder, patches)
        np.testing.assert_array_equal(predictor.decide(rows), decided)


def test_the_card_says_what_was_fitted(run, tmp_path):
    fitted = read_evaluation(run, "test")["fitted"]
    folder = export_run(run, tmp_path / "model", run / "evaluation" / "test", calibrate=True)
    card, text = json.loads((folder / "model_card.json").read_text()), (folder / "README.md").read_text()
    assert card["temperature"] == fitted["temperature"]
    assert card["fitted_on"]["num_records"] == 12
    assert f"divided by the temperature {fitted['temperature']:.3f}" in text
    assert "Fitted on 12 records of test, val." in text
    if "thresholds" in fitted:
        scaled = scale_probabilities(
            np.array(list(fitted["thresholds"].values())), card["temperature"], LabelKind.MULTI
        )
        np.testing.assert_allclose(list(card["thresholds"].values()), scaled)
        for index, (name, threshold) in enumerate(card["thresholds"].items()):
            assert f"| {index} | {name} | {threshold:.3f} |" in text


def test_without_an_evaluation_the_threshold_is_one_half(run, patches, tmp_path):
    folder = export_run(run, tmp_path / "model")
    rows, decided = predict(folder, patches)
    np.testing.assert_array_equal(decided, Predictor(folder).label_kind.decide(rows))
    assert "temperature" not in json.loads((folder / "model_card.json").read_text())


def test_what_does_not_belong_together_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="--calibrate needs a temperature: name an evaluation"):
        export_run(run, tmp_path / "model", calibrate=True)
    with pytest.raises(FileNotFoundError, match=r"nowhere/evaluation.json: missing. Name the folder of an evaluation"):
        export_run(run, tmp_path / "model", "nowhere")
    other = tmp_path / "other"
    write_finished_run(other, read_manifest(run.parent / "records"), seed=1)
    with pytest.raises(ValueError, match=r"test: is the evaluation of other weights \(wide_resnet_eca_b0"):
        export_run(other, tmp_path / "model", run / "evaluation" / "test")
    old = read_evaluation(run, "test")
    del old["fitted"]
    (tmp_path / "evaluation.json").write_text(json.dumps(old))
    with pytest.raises(ValueError, match="has nothing that was fitted on the split val"):
        export_run(run, tmp_path / "model", tmp_path)
    assert not (tmp_path / "model").exists()
