"""Prediction into a folder: rows, problems, resuming, refusals, and bounded work."""

import csv
import json
import os
import signal
import subprocess
import time

import numpy as np
import pandas
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions, make_columns
from bigearth_tf.serving.exported_model import CARD_NAME
from bigearth_tf.serving.patch_inputs import InputPatch, ListedPatches
from bigearth_tf.serving.prediction_folder import PredictionOptions, list_thresholds, predict_to_folder
from bigearth_tf.serving.predictor import Predictor
from tests.support import warm_python
from tests.support.files import contents
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import expected_probability, write_means_model

BANDS = get_bands("B02,B05,B11")
CLASSES = ("Lakes; rivers", "Forest", "Sand")
LEVELS = (0, 500, 1000, 1500)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor(write_means_model(tmp_path_factory.mktemp("model") / "model", BANDS, CLASSES))


def level_of(number, band_index):
    """Returns the constant value of a band: a different one for each band of a patch."""
    return LEVELS[(number + band_index) % len(LEVELS)]


def make_patch(number):
    if number % 10 == 3:
        raise ValueError(f"patch_{number}: B05 is cut off")
    if number % 10 == 7:
        raise OSError(f"patch_{number}: permission denied")
    bands = {
        band.name: np.full((band.size_px, band.size_px), level_of(number, index), band.dtype)
        for index, band in enumerate(BANDS)
    }
    return InputPatch(
        f"patch_{number}",
        bands,
        ("Forest",) if number % 2 else None,
        {"country": "Austria"} if number % 2 else {},
        0.25,
        "bright" if number == 5 else "",
    )


def make_inputs(count, read_one=make_patch):
    return ListedPatches([f"patch_{number}" for number in range(count)], read_one, attributes=("country",))


OPTIONS = PredictionOptions(batch_size=4, part_size=6)


@pytest.fixture(scope="module")
def predicted(predictor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted") / "predictions"
    options = PredictionOptions(batch_size=4, part_size=6, csv=True)
    return folder, predict_to_folder(predictor, make_inputs(20), folder, options)


def test_every_input_is_a_row_or_a_problem(predicted):
    folder, result = predicted
    assert (result.num_patches, result.num_problems) == (16, 4)
    table = pandas.read_parquet(folder / "predictions.parquet")
    assert list(table["patch_id"]) == [f"patch_{number}" for number in range(20) if number % 10 not in (3, 7)]
    with (folder / "problems.csv").open(newline="") as file:
        problems = list(csv.DictReader(file))
    assert [row["input"] for row in problems] == ["patch_3", "patch_7", "patch_13", "patch_17"]
    assert problems[0]["problem"] == "patch_3: B05 is cut off"
    assert "permission denied" in problems[1]["problem"]
    assert len(list((folder / "predictions.parquet").iterdir())) == 4  # 20 inputs by 6.


def test_a_row_has_probabilities_labels_top_class_and_attributes(predicted):
    table = pandas.read_parquet(predicted[0] / "predictions.parquet").set_index("patch_id")
    row = table.loc["patch_1"]  # Means 500, 1,000 and 1,500.
    for index, name in enumerate(CLASSES):
        expected = expected_probability(level_of(1, index))
        assert row[f"probability/{name}"] == pytest.approx(expected, abs=1e-6)
    assert row["predicted"] == "Forest; Sand"  # In the order of the classes; exactly 0.5 is predicted.
    assert [row[f"decision/{name}"] for name in CLASSES] == [False, True, True]
    assert [row[f"label/{name}"] for name in CLASSES] == [False, True, False]
    assert row["top_class"] == "Sand"
    assert (row["true_labels"], row["country"], row["no_data"]) == ("Forest", "Austria", 0.25)
    assert [(remark.name, remark.problem) for remark in predicted[1].parts.read_remarks()] == [("patch_5", "bright")]
    unlabeled = table.loc["patch_2"]
    assert unlabeled["true_labels"] is None
    assert unlabeled["label/Forest"] is None
    assert unlabeled["country"] == ""
    assert table.loc["patch_0", "predicted"] == "Sand"


def test_the_columns_are_those_of_an_evaluation_and_three_more(predicted):
    table = pandas.read_parquet(predicted[0] / "predictions.parquet")
    zeros, countries = np.zeros((1, 3), np.float32), {"country": np.array(["Austria"])}
    rows = Predictions(np.array(["a"]), zeros, zeros, countries)
    of_evaluation = list(make_columns(NamedPredictions(rows, CLASSES, LabelKind.MULTI)))
    assert [name for name in table if name not in ("no_data", "remark", "top_class")] == of_evaluation


def test_the_csv_has_the_same_rows(predicted):
    table = pandas.read_parquet(predicted[0] / "predictions.parquet")
    from_csv = pandas.read_csv(predicted[0] / "predictions.csv")
    assert list(from_csv.columns) == list(table.columns)
    assert list(from_csv["patch_id"]) == list(table["patch_id"])
    np.testing.assert_allclose(from_csv["probability/Sand"], table["probability/Sand"], atol=1e-6)
    assert from_csv["true_labels"].isna().sum() == table["true_labels"].isna().sum() == 10


def test_a_threshold_decides_instead_of_that_of_the_model(predictor, tmp_path):
    result = predict_to_folder(predictor, make_inputs(2), tmp_path, PredictionOptions(threshold=0.7))
    assert [row["predicted"] for row in result.parts.read_rows()] == ["", "Sand"]
    with pytest.raises(ValueError, match=r"--threshold=1.5: expected a probability"):
        predict_to_folder(predictor, make_inputs(2), tmp_path / "x", PredictionOptions(threshold=1.5))


def test_the_thresholds_of_the_model_decide(tmp_path):
    folder = write_means_model(tmp_path / "model", BANDS, CLASSES)
    card = json.loads((folder / CARD_NAME).read_text())
    (folder / CARD_NAME).write_text(json.dumps({**card, "thresholds": {"Forest": 0.2, "Sand": 0.9}}))
    predictor = Predictor(folder)
    result = predict_to_folder(predictor, make_inputs(2), tmp_path / "out")
    # Probabilities of patch 0 are 0.12, 0.27 and 0.5; of patch 1 0.27, 0.5 and 0.73.
    assert [row["predicted"] for row in result.parts.read_rows()] == ["Forest", "Forest"]
    assert list_thresholds(predictor, None) == pytest.approx({CLASSES[0]: 0.5, "Forest": 0.2, "Sand": 0.9})
    assert list_thresholds(predictor, 0.3) == dict.fromkeys(CLASSES, 0.3)


def test_a_single_label_model_predicts_its_most_probable_class(tmp_path):
    model = Predictor(write_means_model(tmp_path / "model", BANDS, CLASSES, label_kind=LabelKind.SINGLE))
    result = predict_to_folder(model, make_inputs(3), tmp_path / "out", OPTIONS)
    rows = list(result.parts.read_rows())
    assert [row["predicted"] for row in rows] == [row["top_class"] for row in rows] == ["Sand", "Sand", "Forest"]
    with pytest.raises(ValueError, match="--threshold: this model predicts the most probable class"):
        predict_to_folder(model, make_inputs(3), tmp_path / "x", PredictionOptions(threshold=0.7))


def test_a_run_resumes_by_parts_and_gives_the_same_bytes(predictor, predicted, tmp_path):
    whole = contents(predicted[0] / "predictions.parquet")
    read = []

    def interrupted(number):
        if number == 14:
            raise KeyboardInterrupt
        read.append(number)
        return make_patch(number)

    with pytest.raises(KeyboardInterrupt):
        predict_to_folder(predictor, make_inputs(20, interrupted), tmp_path / "out", OPTIONS)
    assert len(list((tmp_path / "out" / "predictions.parquet").iterdir())) == 2
    read.clear()

    def counted(number):
        read.append(number)
        return make_patch(number)

    predict_to_folder(predictor, make_inputs(20, counted), tmp_path / "out", OPTIONS)
    assert read == list(range(12, 20))  # The first two parts were not read again.
    assert contents(tmp_path / "out" / "predictions.parquet") == whole
    assert (tmp_path / "out" / "problems.csv").read_bytes() == (predicted[0] / "problems.csv").read_bytes()
    read.clear()
    assert predict_to_folder(predictor, make_inputs(20, counted), tmp_path / "out", OPTIONS).num_patches == 16
    assert not read


KILLED = """
import sys, time
from tests.bigearth_tf.serving.test_prediction_folder import *
def slow(number):
    time.sleep(0.05)
    return make_patch(number)
predict_to_folder(Predictor(sys.argv[1]), make_inputs(20, slow), sys.argv[2], OPTIONS)
"""


def test_a_process_that_is_killed_resumes_and_two_at_once_are_refused(predictor, predicted, tmp_path):
    folder = tmp_path / "out"
    command = ["-c", KILLED, str(predictor.folder), str(folder)]
    process = warm_python.start(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    table = folder / "predictions.parquet"
    while process.poll() is None and not (table / "part-00000.parquet").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(ValueError, match=rf"in use by process {process.pid} on"):
        predict_to_folder(predictor, make_inputs(20), folder, OPTIONS)
    process.kill()
    process.wait()
    (table / f".part-00002.parquet.{process.pid}.tmp").write_bytes(b"cut")
    predict_to_folder(predictor, make_inputs(20), folder, OPTIONS)
    assert contents(table) == contents(predicted[0] / "predictions.parquet")


def test_other_inputs_options_or_another_model_are_refused(predictor, predicted, tmp_path):
    folder = predicted[0]
    with pytest.raises(ValueError, match=r"differ in inputs. Name another --output_dir"):
        predict_to_folder(predictor, make_inputs(19), folder, OPTIONS)
    with pytest.raises(ValueError, match=r"differ in options"):
        predict_to_folder(predictor, make_inputs(20), folder, PredictionOptions(part_size=6, threshold=0.4))
    other = Predictor(write_means_model(tmp_path / "model", BANDS, ("a", "b", "c")))
    with pytest.raises(ValueError, match=r"differ in model_sha256"):
        predict_to_folder(other, make_inputs(20), folder, OPTIONS)
    about = json.loads((folder / "predictions.json").read_text())
    assert about["inputs"]["num_inputs"] == 20
    assert "tensorflow" in str(about["versions"])


def test_strict_ends_at_the_first_problem(predictor, tmp_path):
    options = PredictionOptions(batch_size=1, part_size=2, strict=True)
    with pytest.raises(ValueError, match=r"patch_3: B05 is cut off \(--strict ends"):
        predict_to_folder(predictor, make_inputs(20), tmp_path, options)
    assert len(list((tmp_path / "predictions.parquet").iterdir())) == 1


def test_nothing_predicted_is_an_error(predictor, tmp_path):
    def broken(number):
        raise ValueError(f"{number}: is not a patch")

    with pytest.raises(
        ValueError, match=r"None of the 5 inputs could be predicted; .*problems.csv says why.*0: is not"
    ):
        predict_to_folder(predictor, make_inputs(5, broken), tmp_path, OPTIONS)


def test_a_patch_that_does_not_fit_the_model_is_a_problem_of_that_patch(predictor, tmp_path):
    def read_one(number):
        patch = make_patch(0)
        bands = dict(patch.bands)
        if number == 1:
            del bands["B05"]
        if number == 2:
            bands["B02"] = bands["B02"][:60]
        if number == 3:
            bands["B11"] = bands["B11"].astype(np.float32)
        return InputPatch(f"patch_{number}", bands, no_data=1.0 if number == 4 else 0.0)

    result = predict_to_folder(predictor, make_inputs(6, read_one), tmp_path, OPTIONS)
    assert result.num_patches == 2
    problems = [problem.problem for problem in result.parts.read_problems()]
    assert problems == [
        "patch_1: The model takes band B05 as uint16 [60, 60]; in this patch it is missing.",
        "patch_2: The model takes band B02 as uint16 [120, 120]; in this patch it is uint16 [60, 120].",
        "patch_3: The model takes band B11 as uint16 [60, 60]; in this patch it is float32 [60, 60].",
        "patch_4: contains no data: every pixel is 0 or missing.",
    ]


def test_only_three_batches_are_in_memory(predictor, tmp_path):
    live = set()
    most = 0

    class Counted(np.ndarray):
        def __array_finalize__(self, _):
            nonlocal most
            live.add(id(self))
            most = max(most, len(live))

        def __del__(self):
            live.discard(id(self))

    def read_one(number):
        patch = make_patch(0)
        return InputPatch(f"patch_{number}", {**patch.bands, "B02": patch.bands["B02"].view(Counted)})

    predict_to_folder(predictor, make_inputs(100, read_one), tmp_path, PredictionOptions(batch_size=4, part_size=100))
    assert most <= 3 * 4 + 1
