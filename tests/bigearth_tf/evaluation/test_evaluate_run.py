"""Is every record in the table once, is it told where one is missing or twice, and do model and data have to fit?"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import read_manifest, write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.evaluate_run import check_fit, output_folder, predict_run
from bigearth_tf.evaluation.inference import make_predict_step, predict_dataset
from bigearth_tf.input.pipeline import make_eval_dataset
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


def test_rows_are_sorted_complete_and_belong_together(val):
    table = predict_dataset(make_predict_step(mean_of_red), val, Replica(), 7)
    assert table.patch_ids.tolist() == [f"val_{number:03d}" for number in range(7)]
    np.testing.assert_array_equal(table.labels[:, 1], [0, 1, 0, 1, 0, 1, 0])
    # Odd records are the bright ones.
    np.testing.assert_array_equal(table.probabilities[:, 0] > 0.5, table.labels[:, 1] == 1)
    np.testing.assert_allclose(table.probabilities[:, 2], 0.5)


def test_a_record_missing_or_twice_is_an_error(val):
    step = make_predict_step(mean_of_red)
    with pytest.raises(ValueError, match="7 records of 7 patches were scored, the split has 8"):
        predict_dataset(step, val, Replica(), 8)
    with pytest.raises(ValueError, match="14 records of 7 patches"):
        predict_dataset(step, val.concatenate(val), Replica(), 14)


def test_the_kind_of_labels_decides_what_becomes_of_logits():
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


def test_a_run_is_asked_with_its_best_weights(finished):
    folder, model = finished
    found = predict_run(folder / "run", folder / "records", "test", Replica())
    assert found.class_names == CLASS_NAMES
    assert len(found.table.patch_ids) == 7
    assert found.validation.patch_ids.tolist() == [f"val_{number:03d}" for number in range(5)]
    data = ShardedDataset.open(folder / "records")
    (batch,) = make_eval_dataset(data, "test", get_bands("RGB"), batch_size=7, replica=Replica())
    row = found.table.patch_ids.tolist().index(batch["patch_id"].numpy()[0].decode())
    expected = tf.sigmoid(model(batch["bands"], training=False))[0]
    np.testing.assert_allclose(found.table.probabilities[row], expected, rtol=1e-5)


def test_thresholds_have_a_split_of_their_own_or_none(finished, tmp_path):
    folder, _ = finished
    found = predict_run(folder / "run", folder / "records", "val", Replica())
    assert found.validation is None
    assert "would be those that are scored" in found.about["thresholds"]
    write_records(tmp_path / "test_only", {"test": 3})
    found = predict_run(folder / "run", tmp_path / "test_only", "test", Replica())
    assert found.validation is None
    assert "has no split val" in found.about["thresholds"]


def test_a_data_set_that_was_not_trained_on_needs_no_statistics(finished, tmp_path):
    folder, _ = finished
    manifest = write_records(tmp_path / "other", {"test": 3}, seed=5, bands="S2")
    bands = tuple(dataclasses.replace(band, mean=None, std=None) for band in manifest.bands)
    write_manifest(dataclasses.replace(manifest, bands=bands), tmp_path / "other")
    found = predict_run(folder / "run", tmp_path / "other", "test", Replica())
    assert np.isfinite(found.table.probabilities).all()


def test_the_wrong_data_are_refused(finished):
    manifest = read_manifest(finished[0] / "records")
    rgb = get_bands("RGB")
    check_fit(CLASS_NAMES, rgb, LabelKind.MULTI, manifest, "here")
    check_fit(CLASS_NAMES, rgb[::-1], LabelKind.MULTI, manifest, "here")  # Bands go by name.
    coarse = (dataclasses.replace(rgb[0], size_px=60, resolution_m=20), *rgb[1:])
    scaled = (*rgb[:2], dataclasses.replace(rgb[2], unit="reflectance"))
    for arguments, message in (
        (
            (("dark", "bright", "dotted"), rgb, LabelKind.MULTI),
            r"Only the model has \['dotted'\], only the data have \['stri",
        ),
        ((("bright", "dark", "striped"), rgb, LabelKind.MULTI), "class 0 is 'bright' to the model, 'dark' in the data"),
        ((CLASS_NAMES[:2], rgb, LabelKind.MULTI), r"Only the model has none, only the data have \['striped'\]"),
        ((CLASS_NAMES, rgb, LabelKind.SINGLE), "has multi-label data, the model was trained on single"),
        ((CLASS_NAMES, get_bands("S1"), LabelKind.MULTI), "Unknown band 'VV'"),
        ((CLASS_NAMES, coarse, LabelKind.MULTI), "band B04 has resolution_m 10, the model takes 20"),
        (
            (CLASS_NAMES, scaled, LabelKind.MULTI),
            "band B02 has unit 'reflectance x 10000', the model takes 'reflectance'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            check_fit(*arguments, manifest, "here")


def test_the_evaluation_of_other_records_is_not_overwritten(finished, tmp_path):
    folder, _ = finished
    found = predict_run(folder / "run", folder / "records", "test", Replica())
    from bigearth_tf.evaluation.report import write_evaluation

    assert output_folder(tmp_path, folder / "records", "test") == tmp_path / "evaluation" / "test"
    write_evaluation({"about": found.about}, tmp_path)
    assert output_folder("anywhere", folder / "records", "test", str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="is the evaluation of other records, of test, test. Name another --output"):
        output_folder("anywhere", folder / "records", "val", str(tmp_path))
