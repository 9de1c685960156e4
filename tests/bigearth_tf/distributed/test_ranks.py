"""Tests that ranks, as real Horovod processes, train one model with the results of one process, and fail together."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import CommunicationConfig
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.replica import Replica, start_replica
from tests.support import warm_python
from tests.support.horovod_ranks import run_by_horovodrun, run_on_ranks
from tests.support.records import write_records

pytestmark = pytest.mark.skipif(importlib.util.find_spec("horovod") is None, reason="Horovod is not installed")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    write_records(folder, {"train": 40, "val": 9, "test": 11})
    return folder


def launch(script, *arguments, ranks=2, fails=False, run=run_on_ranks):
    """Returns the output of the ranks, after checking that all have succeeded, or that all have failed."""
    result = run(ranks, script, *arguments)
    assert all((code != 0) == fails for code in result.codes), f"{result.codes}: {result.output[-6000:]}"
    return result.output


TRAIN = """
import sys
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig
from bigearth_tf.distributed.replica import start_replica
from bigearth_tf.training import train
config = TrainConfig(
    model_overrides="resolution_px=15, width=0.5",
    data=DataConfig(data_dir=sys.argv[1], bands="RGB", shuffle_mb=2.0),
    schedule=ScheduleConfig(name="constant", peak=3e-3),
    epochs=2, global_batch_size=8, best_metric="micro_f1")
replica = start_replica()
assert replica.world_size == int(sys.argv[3]), replica
train.train(config, sys.argv[2], replica)
"""


# For tests in which the model does not matter.
SMALLEST = TRAIN.replace(
    'model_overrides="resolution_px=15, width=0.5"',
    'model="mlp_mixer_tiny", model_overrides="resolution_px=15, patch_size=5, dim=8, depth=1, tokens_dim=8"',
)


def test_two_ranks_train_and_write_one_result_that_one_process_reproduces(records, tmp_path):
    launch(TRAIN, records, tmp_path / "two", 2, run=run_by_horovodrun)
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    # One process restores the same checkpoint and scores the same split: the scores are equal to the last digit.
    from bigearth_tf.data.sharded_dataset import ShardedDataset
    from bigearth_tf.evaluation.inference import make_predict_step, predict_dataset
    from bigearth_tf.evaluation.metrics import compute_scores
    from bigearth_tf.input.pipeline import make_eval_dataset
    from bigearth_tf.runs.work_folder import load_finished_run

    run = load_finished_run(tmp_path / "two")
    dataset = make_eval_dataset(ShardedDataset.open(records), "test", run.bands, batch_size=4, replica=Replica())
    table = predict_dataset(make_predict_step(run.model), dataset, Replica(), 11)
    assert compute_scores(table.labels, table.probabilities) == result["test"]


# Without batch norm the ranks exchange only gradients.
EQUAL = """
import sys
import numpy as np
from bigearth_tf.config import CommunicationConfig, DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from bigearth_tf.distributed.replica import start_replica
from bigearth_tf.training import train
batch_norm = sys.argv[3] == "batch_norm"
config = TrainConfig(
    model="wide_resnet_eca_b0" if batch_norm else "mlp_mixer_tiny",
    model_overrides="resolution_px=15, width=0.5, dropout=0.0" if batch_norm else "dim=8, depth=1, tokens_dim=8",
    data=DataConfig(data_dir=sys.argv[1], bands="RGB", shuffle_mb=2.0, mixup_alpha=0.2),
    optimizer=OptimizerConfig(name="sgd", momentum=0.9), schedule=ScheduleConfig(name="constant", peak=1e-2),
    communication=CommunicationConfig(sync_batch_norm=batch_norm),
    epochs=2, global_batch_size=12, best_metric="micro_f1")
train.train(config, sys.argv[2], start_replica())
"""


@pytest.mark.parametrize(
    ("ranks", "shards", "kind"),
    [(2, 3, "plain"), pytest.param(3, 2, "plain", marks=pytest.mark.full), (2, 2, "batch_norm")],
)
def test_n_ranks_train_the_weights_of_one(tmp_path, ranks, shards, kind):
    """Two ranks share three shards, three ranks have only two, and two have one each; batch norm is synchronized."""
    write_records(tmp_path / "records", {"train": 41, "val": 5, "test": 5}, num_shards=shards)
    weights = []
    for world_size in (1, ranks):
        workdir = tmp_path / str(world_size)
        if world_size == 1:
            warm_python.run(["-c", EQUAL, tmp_path / "records", workdir, kind], check=True)
        else:
            launch(EQUAL, tmp_path / "records", workdir, kind, ranks=world_size)
        reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / "latest"))
        keys = [key for key in reader.get_variable_to_shape_map() if key.startswith("model/")]
        weights.append({key: reader.get_tensor(key) for key in keys if reader.get_tensor(key).dtype == np.float32})
    moved = max(float(np.abs(value).max()) for value in weights[0].values())
    assert moved > 0.01
    for key, value in weights[0].items():
        np.testing.assert_allclose(weights[1][key], value, rtol=1e-4, atol=1e-5, err_msg=key)


REDUCE = """
import sys
import numpy as np, tensorflow as tf
from bigearth_tf.config import CommunicationConfig
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.consensus import check_ranks_agree, run_on_chief
from bigearth_tf.distributed.replica import start_replica
replica = start_replica()
weight = tf.Variable([float(replica.rank), 5.0])
collectives.broadcast([weight], replica)
assert weight.numpy().tolist() == [0.0, 5.0]
(gradient,) = collectives.reduce_gradients([tf.fill([2], replica.rank + 1.0)], replica, CommunicationConfig())
mean = sum(range(1, replica.world_size + 1)) / replica.world_size
np.testing.assert_array_equal(gradient, [mean, mean])
half = CommunicationConfig(compression="fp16")
(gradient,) = collectives.reduce_gradients([tf.fill([2], 1 / 3 + replica.rank)], replica, half)
assert 0 < abs(float(gradient[0]) - np.float32(1 / 3 + 0.5)) < 1e-3
check_ranks_agree({"color": "red"}, replica)
try:
    check_ranks_agree({"color": "red", "number": replica.rank}, replica)
except ValueError as error:
    assert "Ranks disagree on number: rank 0 has 0, rank 1 has 1" in str(error)
else:
    raise AssertionError("a difference was not reported")
done = []
run_on_chief(lambda: done.append(replica.rank), replica)
assert done == [0] * replica.is_chief
try:
    run_on_chief(lambda: [][0], replica)
except IndexError as error:
    assert "out of range" in str(error)
else:
    raise AssertionError("a failure of rank 0 was not raised on all ranks")
assert collectives.gather({"rank": replica.rank}, replica) == [{"rank": r} for r in range(replica.world_size)]
assert replica.is_chief == (replica.rank == 0)
"""


def test_gradients_are_averaged_gathering_keeps_the_order_of_ranks_and_differences_are_named():
    launch(REDUCE)


ADASUM = """
import sys
import numpy as np, tensorflow as tf
from bigearth_tf.config import CommunicationConfig
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.consensus import check_ranks_agree
from bigearth_tf.distributed.replica import start_replica
replica = start_replica()
def reduce(gradients, replica, config):
    return tf.function(lambda *tensors: collectives.reduce_gradients(tensors, replica, config))(*gradients)
config = CommunicationConfig(reduction="adasum")
# Equal gradients count once, orthogonal ones add up.
equal, orthogonal = tf.constant([[3.0], [4.0]]), tf.one_hot(replica.rank, replica.world_size)
found = reduce([equal, orthogonal], replica, config)
np.testing.assert_allclose(found[0], equal, rtol=1e-6)
np.testing.assert_allclose(found[1], np.ones(replica.world_size), rtol=1e-6)
if replica.world_size == 2:
    # (1 - ab / 2aa) a + (1 - ab / 2bb) b with ab = 1, aa = 1, bb = 5; a tensor of zeros stays zero.
    mine = tf.constant([[1.0, 0.0], [1.0, 2.0]])[replica.rank]
    found = reduce([mine, tf.zeros(3)], replica, config)
    np.testing.assert_allclose(found[0], [0.5 + 0.9, 0.9 * 2], rtol=1e-6)
    assert not np.any(found[1])
    (half,) = reduce([mine / 3], replica, CommunicationConfig(reduction="adasum", compression="fp16"))
    np.testing.assert_allclose(half * 3, found[0], rtol=1e-3)
    (infinite,) = reduce([mine / float(replica.rank)], replica, config)
    assert not np.isfinite(infinite).any(), "a value that is not finite on one rank must reach all ranks"
mine = tf.random.stateless_normal([1000], [0, replica.rank])
(found,) = reduce([mine], replica, config)
check_ranks_agree({"sum": found.numpy().tobytes().hex()}, replica)
assert np.isfinite(found).all()
(mean,) = collectives.reduce_gradients([mine], replica, CommunicationConfig())
assert np.linalg.norm(found - mean) > 0.3 * np.linalg.norm(mean)
"""


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.full)])
def test_adasum_adds_orthogonal_gradients_and_averages_equal_ones(ranks):
    launch(ADASUM, ranks=ranks)


def test_adasum_trains(records, tmp_path):
    script = TRAIN.replace("train.train(config", "config.communication.reduction = 'adasum'; train.train(config")
    launch(script, records, tmp_path / "workdir", 2)
    result = json.loads((tmp_path / "workdir" / "result.json").read_text())
    assert result["test"]["micro_f1"] > result["always_most_frequent_labels"]["test"]["micro_f1"]


def test_adasum_is_refused_for_three_ranks_before_anything_is_written(records, tmp_path):
    script = SMALLEST.replace("train.train(config", "config.communication.reduction = 'adasum'; train.train(config")
    script = script.replace("global_batch_size=8", "global_batch_size=9")
    output = launch(script, records, tmp_path / "workdir", 3, ranks=3, fails=True)
    assert "adasum' needs 1, 2, 4, 8, ... ranks, not 3" in output
    assert not (tmp_path / "workdir").exists()


FLOAT16 = """
import sys
import numpy as np, tensorflow as tf
from bigearth_tf.config import DataConfig, TrainConfig
from bigearth_tf.distributed import collectives
from bigearth_tf.distributed.consensus import check_ranks_agree, digest_variables
from bigearth_tf.distributed.replica import start_replica
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.input.pipeline import make_train_dataset
from bigearth_tf.input.shuffle_order import EpochPosition
from bigearth_tf.training.state import make_train_state
from bigearth_tf.training.plan import RunPlan
from bigearth_tf.training.step import Requests, make_train_step
replica = start_replica()
config = TrainConfig(
    model="mlp_mixer_tiny", model_overrides="dim=8, depth=1, tokens_dim=8", precision="mixed_float16",
    data=DataConfig(data_dir=sys.argv[1], bands="RGB", shuffle_mb=2.0), global_batch_size=8)
data = ShardedDataset.open(sys.argv[1])
bands = data.select_bands("RGB")
training = make_train_state(RunPlan(config, data, bands, replica.world_size, steps_per_epoch=10), replica)
collectives.broadcast(training.variables, replica)
train_step = make_train_step(training, config, replica)
dataset = make_train_dataset(
    data, bands, replica, EpochPosition(seed=0, epoch=0), global_batch_size=8, shuffle_mb=2.0)
batch = next(iter(dataset))
def facts():
    weights = digest_variables(training.model.trainable_variables)
    everything = digest_variables(training.variables)
    return {"weights": weights, "everything": everything, "scale": float(training.optimizer.loss_scale)}
def take(step, labels):
    nothing = Requests(tf.constant(0.0), tf.constant(0.0))
    answer = train_step({**batch, "labels": labels}, tf.constant(step, tf.int64), nothing)
    assert np.isfinite([answer.rank_loss, answer.loss]).all(), answer
    check_ranks_agree(facts(), replica)
    return facts()
start = facts()
# A label that overflows float16 after scaling, only in the gradients of rank 1; the loss is finite.
skipped = take(0, batch["labels"] * (1e4 if replica.rank == 1 else 1.0))
assert skipped["weights"] == start["weights"]
assert skipped["scale"] == start["scale"] / 2
taken = take(1, batch["labels"])
assert taken["weights"] != start["weights"]
assert taken["scale"] == skipped["scale"]
"""


def test_an_overflow_on_one_rank_makes_all_ranks_skip_the_step(tmp_path):
    write_records(tmp_path / "records", {"train": 16})
    launch(FLOAT16, tmp_path / "records")


LOST = SMALLEST.replace(
    "train.train(config",
    """
import os, signal
from bigearth_tf.training.hooks import Hook
class Die(Hook):
    def after_execution(self, execution):
        if replica.rank == 1 and execution.last_step == 3:
            os.kill(os.getpid(), signal.SIGKILL if sys.argv[4] == "die" else signal.SIGSTOP)
config.communication.stall_timeout_s = float(sys.argv[5])
train.train(config""",
).replace("sys.argv[2], replica)", "sys.argv[2], replica, hooks=[Die()])")


def test_a_lost_rank_ends_the_others(records, tmp_path):
    """The others end without a launcher, and long before the watchdog would end them."""
    output = launch(LOST, records, tmp_path / "workdir", 2, "die", 60, fails=True)
    assert "rank 0 lost another rank" in output
    assert "no step for" not in output


def test_a_frozen_rank_is_named_and_ends_the_job(records, tmp_path):
    output = launch(LOST, records, tmp_path / "workdir", 2, "freeze", 12, fails=True)
    assert "rank 0: no step for" in output
    assert "rank 1 on" in output


SLOW_DISK = SMALLEST.replace(
    "train.train(config",
    """
import time
from bigearth_tf.runs.checkpoints import RunCheckpoints
save = RunCheckpoints.save_latest
def save_slowly(self):
    if int(self._progress.step) == 4:
        time.sleep(15)
    save(self)
RunCheckpoints.save_latest = save_slowly
config.checkpoint_steps = 2
config.communication.stall_timeout_s = 12
train.train(config""",
)


@pytest.mark.full
def test_a_checkpoint_that_takes_long_to_write_does_not_end_the_run(records, tmp_path):
    """The watchdog ends neither rank 0, which writes the checkpoint, nor rank 1, which waits in its next step."""
    launch(SLOW_DISK, records, tmp_path / "workdir", 2)
    assert (tmp_path / "workdir" / "result.json").exists()


OTHER = SMALLEST.replace(
    "train.train(config",
    """
if sys.argv[4] == "config":
    config.seed = replica.rank
else:
    config.data.data_dir += str(replica.rank)
train.train(config""",
)


def test_ranks_with_different_configs_are_refused(records, tmp_path):
    output = launch(OTHER, records, tmp_path / "workdir", 2, "config", fails=True)
    assert "Ranks disagree on config and data" in output
    assert not (tmp_path / "workdir").exists()


@pytest.mark.parametrize("same", [False, True])
def test_ranks_may_read_copies_of_the_data_but_not_different_data(tmp_path, same):
    for rank in range(2):
        write_records(tmp_path / f"records{rank}", {"train": 40, "val": 9, "test": 11}, seed=0 if same else rank)
    output = launch(OTHER, tmp_path / "records", tmp_path / "workdir", 2, "data", fails=not same)
    assert ("Ranks disagree on config and data" in output) == (not same)
    assert (tmp_path / "workdir").exists() == same


def test_one_process_needs_no_horovod(monkeypatch):
    monkeypatch.delenv("HOROVOD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "horovod", None)
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", None)
    replica = start_replica()
    assert replica == Replica(0, 0, 1)
    gradients = [tf.ones(2)]
    assert collectives.reduce_gradients(gradients, replica, CommunicationConfig())[0] is gradients[0]
    assert collectives.gather(np.pi, replica) == [np.pi]
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    with pytest.raises(RuntimeError, match="make setup"):
        start_replica()


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_several_processes_that_would_train_by_themselves_are_refused(monkeypatch, variable):
    monkeypatch.delenv("HOROVOD_SIZE", raising=False)
    monkeypatch.setenv(variable, "1")
    assert start_replica() == Replica()
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ValueError, match=f"2 processes were started .{variable}.*bigearth_tf.launch"):
        start_replica()
