"""Predictions of a run: each record once, the best weights, and data that fit the model."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.data_fit import check_fit
from bigearth_tf.evaluation.inference import make_predict_step, predict_dataset
from bigearth_tf.evaluation.predict_run import predict_run
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.runs.record import make_run_settings
from tests.support.finished_runs import write_finished_run
from tests.support.records import CLASS_NAMES, write_records


def mean_of_red(bands, training):
    assert not training
    red = tf.reduce_mean(tf.cast(bands["B04"], tf.float32), axis=[1, 2])
    return tf.stack([red - 900.0, 900.0 - red, red * 0], axis=-1) / 1000.0


@pytest.fixture
def val(tmp_path):
    data = ShardedDataset(tmp_path / "records", write_records(tmp_path / "records", {"val": 7}, num_shards=3))
    return make_eval_dataset(data, "val", get_bands("RGB"), batch_size=3, replica=Replica())


def test_rows_are_sorted_and_complete_and_their_columns_match(val):
    table = predict_dataset(make_predict_step(mean_of_red), val, Replica(), 7)
    assert table.patch_ids.tolist() == [f"val_{number:03d}" for number in range(7)]
    np.testing.assert_array_equal(table.labels[:, 1], [0, 1, 0, 1, 0, 1, 0])
    # Odd records are the bright ones.
    np.testing.assert_array_equal(table.probabilities[:, 0] > 0.5, table.labels[:, 1] == 1)
    np.testing.assert_allclose(table.probabilities[:, 2], 0.5)


def test_a_record_that_is_missing_or_scored_twice_is_an_error(val):
    step = make_predict_step(mean_of_red)
    with pytest.raises(ValueError, match="7 records of 7 patches were scored, the split has 8"):
        predict_dataset(step, val, Replica(), 8)
    with pytest.raises(ValueError, match="14 records of 7 patches"):
        predict_dataset(step, val.concatenate(val), Replica(), 14)


def test_the_kind_of_labels_decides_the_probabilities():
    logits = np.float32([[0, 0, np.log(2)]])
    bands = {"B04": tf.zeros([1])}
    multi, single = (make_predict_step(lambda b, training: tf.constant(logits), kind) for kind in LabelKind)
    np.testing.assert_allclose(multi(bands), [[1 / 2, 1 / 2, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(single(bands), [[1 / 4, 1 / 4, 1 / 2]], rtol=1e-6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    manifest = write_records(folder / "records", {"train": 4, "val": 5, "test": 7})
    return folder, write_finished_run(folder / "run", manifest)


def test_a_run_predicts_with_its_best_weights(finished):
    folder, model = finished
    found = predict_run(folder / "run", folder / "records", "test", Replica())
    assert found.scored.class_names == CLASS_NAMES
    assert len(found.scored.table.patch_ids) == 7
    assert found.validation.patch_ids.tolist() == [f"val_{number:03d}" for number in range(5)]
    data = ShardedDataset.open(folder / "records")
    (batch,) = make_eval_dataset(data, "test", get_bands("RGB"), batch_size=7, replica=Replica())
    row = found.scored.table.patch_ids.tolist().index(batch["patch_id"].numpy()[0].decode())
    expected = tf.sigmoid(model(batch["bands"], training=False))[0]
    np.testing.assert_allclose(found.scored.table.probabilities[row], expected, rtol=1e-5)


def test_thresholds_are_tuned_on_another_split_or_not_at_all(finished, tmp_path):
    folder, _ = finished
    found = predict_run(folder / "run", folder / "records", "val", Replica())
    assert found.validation is None
    assert "would be tuned on the records that are scored" in found.about["thresholds"]
    write_records(tmp_path / "test_only", {"test": 3})
    found = predict_run(folder / "run", tmp_path / "test_only", "test", Replica())
    assert found.validation is None
    assert "has no split val" in found.about["thresholds"]


def test_a_data_set_that_is_only_scored_needs_no_statistics(finished, tmp_path):
    folder, _ = finished
    manifest = write_records(tmp_path / "other", {"test": 3}, seed=5, bands="S2")
    bands = tuple(dataclasses.replace(band, mean=None, std=None) for band in manifest.bands)
    write_manifest(dataclasses.replace(manifest, bands=bands), tmp_path / "other")
    found = predict_run(folder / "run", tmp_path / "other", "test", Replica())
    assert np.isfinite(found.scored.table.probabilities).all()


def test_data_that_do_not_fit_the_model_are_refused(finished):
    data = ShardedDataset.open(finished[0] / "records")
    rgb = get_bands("RGB")
    trained_on = make_run_settings(TrainConfig(), data.manifest, rgb).dataset
    check_fit(trained_on, data)
    check_fit(dataclasses.replace(trained_on, bands=rgb[::-1]), data)  # Bands are matched by name.
    coarse = (dataclasses.replace(rgb[0], size_px=60, resolution_m=20), *rgb[1:])
    scaled = (*rgb[:2], dataclasses.replace(rgb[2], unit="reflectance"))
    for change, message in (
        (
            {"class_names": ("dark", "bright", "dotted")},
            r"Only the model has \['dotted'\], only the data have \['striped'\]",
        ),
        ({"class_names": ("bright", "dark", "striped")}, "class 0 is 'bright' to the model, 'dark' in the data"),
        ({"class_names": CLASS_NAMES[:2]}, r"Only the model has none, only the data have \['striped'\]"),
        ({"label_kind": LabelKind.SINGLE}, "has multi-label data, the model was trained on single-label data"),
        ({"bands": get_bands("S1")}, "Unknown band 'VV'"),
        ({"bands": coarse}, "band B04 has resolution_m 10, the model takes 20"),
        ({"bands": scaled}, "band B02 has unit 'reflectance x 10000', the model takes 'reflectance'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_fit(dataclasses.replace(trained_on, **change), data)


def test_the_attributes_of_records_come_with_their_predictions(finished, tmp_path):
    folder, _ = finished
    write_records(tmp_path / "records", {"val": 3, "test": 5}, attributes=("country", "season"))
    found = predict_run(folder / "run", tmp_path / "records", "test", Replica())
    numbers = [int(patch_id[-3:]) for patch_id in found.scored.table.patch_ids]
    expected = [f"país {number}" if number % 2 else "" for number in numbers]
    assert found.scored.table.attributes["country"].tolist() == expected
    assert set(found.scored.table.attributes) == {"country", "season"}
    assert len(found.validation.attributes["season"]) == 3


def test_a_broken_record_is_named(finished, tmp_path):
    folder, _ = finished
    manifest = write_records(tmp_path / "records", {"test": 6})
    shard = tmp_path / "records" / manifest.shards[1].name
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{shard.name}: record 1 of 0 ... 2 is damaged"):
        predict_run(folder / "run", tmp_path / "records", "test", Replica())
