"""Predictions as a Parquet file: exact round trip, and errors of wrong tables and files."""

import dataclasses

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.prediction_table import (
    NamedPredictions,
    Predictions,
    read_predictions,
    write_predictions,
)
from bigearth_tf.serving.prediction_parts import PredictionParts

NAMES = ("Arable land", "Transitional woodland, shrub", "Ödland/Wüste")


def make_predictions(class_names=NAMES, label_kind=LabelKind.MULTI):
    rng = np.random.default_rng(0)
    table = Predictions(
        np.array([f"patch_{index:02d}" for index in range(5)]),
        (rng.random((5, 3)) < 0.5).astype(np.float32),
        rng.random((5, 3)).astype(np.float32),
    )
    return NamedPredictions(table, class_names, label_kind)


def test_round_trip_is_exact(tmp_path):
    predictions = make_predictions(label_kind=LabelKind.SINGLE)
    write_predictions(predictions, tmp_path / "predictions.parquet")
    stored = read_predictions(tmp_path)
    assert stored.class_names == NAMES
    assert stored.label_kind is LabelKind.SINGLE
    for name in ("patch_ids", "labels", "probabilities"):
        found, expected = getattr(stored.table, name), getattr(predictions.table, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_any_reader_of_parquet_finds_the_columns(tmp_path):
    predictions = make_predictions()
    table = predictions.table
    write_predictions(predictions, tmp_path / "p.parquet")
    columns = parquet.read_table(tmp_path / "p.parquet").to_pydict()
    assert list(columns)[:4] == ["patch_id", "true_labels", "predicted", "label/Arable land"]
    assert columns["label/Arable land"] == [bool(value) for value in table.labels[:, 0]]
    assert np.float32(columns["probability/Ödland/Wüste"]).tolist() == table.probabilities[:, 2].tolist()


def test_decisions_and_attributes_stand_next_to_labels_and_probabilities(tmp_path):
    predictions = make_predictions()
    table = dataclasses.replace(
        predictions.table,
        probabilities=np.float32([[0.5, 0.49999997, 0.9], [0, 0.2, 0.1], [1, 1, 1], [0.3, 0.6, 0.1], [0.7, 0, 0]]),
        attributes={"country": np.array(["Österreich", "Serbia", "", "Finland", "Kosovo"])},
    )
    predictions = dataclasses.replace(predictions, table=table)
    write_predictions(predictions, tmp_path / "predictions.parquet", np.float32([0.6, 0.2, 0.5]))
    columns = parquet.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert list(columns)[:4] == ["patch_id", "country", "true_labels", "predicted"]
    assert columns["country"] == ["Österreich", "Serbia", "", "Finland", "Kosovo"]
    assert columns["predicted"][:2] == [f"{NAMES[0]}; {NAMES[2]}", ""]
    assert columns[f"decision/{NAMES[1]}"] == [False, False, True, True, False]
    assert columns[f"decision_tuned/{NAMES[1]}"] == [True, True, True, True, False]
    assert read_predictions(tmp_path).table.attributes["country"].tolist() == columns["country"]
    # A prediction without an evaluation has the same columns, and some of its own.
    parts = PredictionParts(tmp_path, NAMES, LabelKind.MULTI, ["country"])
    parts.write(0, [], np.zeros((0, 3), np.float32), np.zeros((0, 3), bool), [])
    predicted = parquet.read_schema(parts.part_path(0)).names
    evaluated = [name for name in columns if not name.startswith("decision_tuned/")]
    assert [name for name in predicted if name in evaluated] == evaluated
    assert not any("/" in name for name in set(predicted) - set(evaluated))


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_predictions(make_predictions(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_a_value_that_is_not_a_probability_is_refused_and_nothing_written(tmp_path, value):
    predictions = make_predictions()
    predictions.table.probabilities[3, 1] = value
    with pytest.raises(ValueError, match="1 of 5 records .* the first of them patch_03"):
        write_predictions(predictions, tmp_path / "p.parquet")
    assert not list(tmp_path.iterdir())


def test_class_names_must_fit_the_columns(tmp_path):
    for names in (NAMES[:2], ("a", "b", "a")):
        with pytest.raises(ValueError, match="2 class names, 3 columns"):
            write_predictions(make_predictions(names), tmp_path / "p.parquet")


def test_missing_and_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="predictions.parquet: missing"):
        read_predictions(tmp_path)
    (tmp_path / "text").write_text("no table")
    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"{name}: not a table of predictions"):
            read_predictions(tmp_path / name)
