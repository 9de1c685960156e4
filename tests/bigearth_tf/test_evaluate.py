"""Is every record in the table once, and is it told where one is missing or twice?"""

import numpy as np
import pytest
import tensorflow as tf
from records import write_records

from bigearth_tf.bands import get_bands
from bigearth_tf.distributed import Replica
from bigearth_tf.evaluate import make_predict_step, predict_dataset
from bigearth_tf.input_pipeline import make_eval_dataset


def mean_of_red(bands, training):
    assert not training
    red = tf.reduce_mean(tf.cast(bands["B04"], tf.float32), axis=[1, 2])
    return tf.stack([red - 900.0, 900.0 - red, red * 0], axis=-1) / 1000.0


@pytest.fixture
def val(tmp_path):
    manifest = write_records(tmp_path / "records", {"val": 7}, num_shards=3)
    return make_eval_dataset(tmp_path / "records", manifest, "val", get_bands("RGB"), batch_size=3, replica=Replica())


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
