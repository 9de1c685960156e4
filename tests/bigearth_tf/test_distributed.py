"""Do two real Horovod processes train one model, and score it as one process does, to the last digit?"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from records import write_records

from bigearth_tf import distributed
from bigearth_tf.distributed import Replica

pytestmark = pytest.mark.skipif(importlib.util.find_spec("horovod") is None, reason="Horovod is not installed")


def launch(script, *arguments, ranks=2):
    command = [Path(sys.executable).with_name("horovodrun"), "-np", str(ranks), "--gloo", sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [*map(str, command), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


TRAIN = """
import sys
from bigearth_tf import distributed, train
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig
config = TrainConfig(
    model_overrides="resolution_px=15, width=0.5",
    data=DataConfig(data_dir=sys.argv[1], bands="RGB", shuffle_mb=2.0),
    schedule=ScheduleConfig(name="constant", peak=3e-3),
    epochs=2, global_batch_size=8, best_metric="micro_f1")
replica = distributed.start()
assert replica.world_size == int(sys.argv[3]), replica
train.train(config, sys.argv[2], replica)
"""


def test_two_ranks_train_and_write_one_result_that_one_process_confirms(tmp_path):
    write_records(tmp_path / "records", {"train": 40, "val": 9, "test": 11})
    launch(TRAIN, tmp_path / "records", tmp_path / "two", 2)
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    # One process restores the same checkpoint and scores the same split: equal to the last digit.
    from bigearth_tf.evaluate import make_predict_step, predict_dataset
    from bigearth_tf.input_pipeline import make_eval_dataset
    from bigearth_tf.manifest import read_manifest
    from bigearth_tf.metrics import compute_scores
    from bigearth_tf.run_folder import load_finished_run

    run = load_finished_run(tmp_path / "two")
    records = tmp_path / "records"
    dataset = make_eval_dataset(records, read_manifest(records), "test", run.bands, batch_size=4, replica=Replica())
    table = predict_dataset(make_predict_step(run.model), dataset, Replica(), 11)
    assert compute_scores(table.labels, table.probabilities) == result["test"]


REDUCE = """
import sys
import numpy as np, tensorflow as tf
from bigearth_tf import distributed
replica = distributed.start()
weight = tf.Variable([float(replica.rank), 5.0])
distributed.broadcast([weight], replica)
assert weight.numpy().tolist() == [0.0, 5.0]
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(weight * (replica.rank + 1.0))
(gradient,) = distributed.averaging_tape(tape, replica).gradient(loss, [weight])
mean = sum(range(1, replica.world_size + 1)) / replica.world_size
np.testing.assert_array_equal(gradient, [mean, mean])
assert distributed.gather({"rank": replica.rank}, replica) == [{"rank": r} for r in range(replica.world_size)]
assert replica.is_chief == (replica.rank == 0)
"""


def test_gradients_are_means_and_gathering_keeps_the_order_of_ranks():
    launch(REDUCE)


def test_one_process_needs_no_horovod(monkeypatch):
    monkeypatch.delenv("HOROVOD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "horovod", None)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    replica = distributed.start()
    assert replica == Replica(0, 0, 1)
    with tf.GradientTape() as tape:
        pass
    assert distributed.averaging_tape(tape, replica) is tape
    assert distributed.gather(np.pi, replica) == [np.pi]
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    with pytest.raises(RuntimeError, match="make setup"):
        distributed.start()
