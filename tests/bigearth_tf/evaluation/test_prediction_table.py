"""Does a table come back from its file bit for bit, and is a wrong one told?"""

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.evaluation.prediction_table import Predictions, read_predictions, write_predictions

NAMES = ("Arable land", "Transitional woodland, shrub", "Ödland/Wüste")


def make_table(num_records=5, seed=0):
    rng = np.random.default_rng(seed)
    return Predictions(
        np.array([f"patch_{index:02d}" for index in range(num_records)]),
        (rng.random((num_records, 3)) < 0.5).astype(np.float32),
        rng.random((num_records, 3)).astype(np.float32),
    )


def test_round_trip_is_exact(tmp_path):
    table = make_table()
    write_predictions(table, NAMES, tmp_path / "predictions.parquet", LabelKind.SINGLE)
    stored = read_predictions(tmp_path)
    assert stored.class_names == NAMES
    assert stored.label_kind is LabelKind.SINGLE
    for name in ("patch_ids", "labels", "probabilities"):
        found, expected = getattr(stored.table, name), getattr(table, name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_others_can_read_it(tmp_path):
    table = make_table()
    write_predictions(table, NAMES, tmp_path / "p.parquet")
    columns = parquet.read_table(tmp_path / "p.parquet").to_pydict()
    assert list(columns)[:2] == ["patch_id", "label/Arable land"]
    assert columns["label/Arable land"] == [bool(value) for value in table.labels[:, 0]]
    assert np.float32(columns["probability/Ödland/Wüste"]).tolist() == table.probabilities[:, 2].tolist()


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_predictions(make_table(), NAMES, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_what_is_no_probability_is_refused_and_nothing_written(tmp_path, value):
    table = make_table()
    table.probabilities[3, 1] = value
    with pytest.raises(ValueError, match="1 of 5 records .* the first of them patch_03"):
        write_predictions(table, NAMES, tmp_path / "p.parquet")
    assert not list(tmp_path.iterdir())


def test_names_must_fit(tmp_path):
    for names in (NAMES[:2], ("a", "b", "a")):
        with pytest.raises(ValueError, match="2 class names, 3 columns"):
            write_predictions(make_table(), names, tmp_path / "p.parquet")


def test_other_files_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="predictions.parquet: missing"):
        read_predictions(tmp_path)
    (tmp_path / "text").write_text("no table")
    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"{name}: not a table of predictions"):
            read_predictions(tmp_path / name)
