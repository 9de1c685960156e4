"""A run learns, resumes to exactly the same end, and reports the scores of its best weights."""

import dataclasses
import functools
import importlib
import json
import shutil
import signal
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig, parse_overrides, validate
from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.evaluation.inference import make_predict_step, predict_dataset
from bigearth_tf.evaluation.metric_table import selection_scores
from bigearth_tf.evaluation.metrics import compute_scores
from bigearth_tf.input.pipeline import make_eval_dataset
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.checkpoints import Progress, RunCheckpoints, restore_best
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.training import train as train_module
from bigearth_tf.training.hooks import Hook
from bigearth_tf.training.optimizers import make_optimizer
from bigearth_tf.training.resolve_config import resolve_config
from bigearth_tf.training.schedules import make_schedule
from bigearth_tf.training.train import train
from tests.support import warm_python
from tests.support.paths import REPOSITORY
from tests.support.records import CLASS_NAMES, MULTI_LABEL, make_manifest, write_records


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    write_records(folder, {"train": 48, "val": 12, "test": 13})
    return folder


def make_config(folder, /, **changes):
    config = TrainConfig(
        model="wide_resnet_eca_b0",
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(data_dir=str(folder), bands="RGB", shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3),
        epochs=4,
        global_batch_size=8,
        best_metric="micro_f1",
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    return workdir, train(make_config(data), workdir, Replica())


def test_it_learns_and_writes_its_result(run):
    workdir, result = run
    assert result.to_json() == json.loads((workdir / "result.json").read_text())
    assert result.test["micro_f1"] > result.always_most_frequent_labels.test["micro_f1"] + 0.1
    assert list(result.test_classes) == list(CLASS_NAMES)
    assert sum(row["support"] for row in result.test_classes.values()) == 13 + 5
    assert result.classes_without_records == {"val": [], "test": []}
    assert result.averages["macro_present"] == "mean over the classes that have records"


def test_the_work_folder_records_config_data_and_versions(run):
    settings = json.loads((run[0] / "config.json").read_text())
    assert settings["config"]["model_overrides"] == "resolution_px=15, width=0.5"
    assert settings["dataset"]["class_names"] == list(CLASS_NAMES)
    assert [row["name"] for row in settings["dataset"]["bands"]] == ["B04", "B03", "B02"]
    assert settings["versions"]["numpy"] == np.__version__


def test_tensorboard_has_every_epoch(run):
    (path,) = (run[0] / "tensorboard").iterdir()
    seen = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            seen.setdefault(value.tag, []).append(event.step)
    assert seen["epoch/loss"] == seen["val/macro_f1"] == [6, 12, 18, 24]
    assert seen["train/loss"] == seen["train/input_share"] == [20]
    assert sorted(set(seen["val/samples"])) == sorted(set(seen["val/predictions"])) == [6, 12, 18, 24]


def test_the_history_has_every_step_and_every_epoch(run):
    rows = read_history(run[0])
    assert [row["step"] for row in rows if "epoch" not in row] == list(range(1, 25))
    epochs = [row for row in rows if "epoch" in row]
    assert [row["step"] for row in epochs] == [6, 12, 18, 24]
    losses = [row["loss"] for row in rows if "epoch" not in row]
    assert epochs[1]["loss"] == pytest.approx(np.mean(losses[6:12]))
    best = max(epochs, key=lambda row: row["val"]["micro_f1"])
    assert run[1].best_epoch == best["epoch"]
    assert run[1].val == best["val"]


def read_history(workdir):
    return [json.loads(line) for line in (workdir / "history.jsonl").read_text().splitlines()]


def scores_of(data, finished):
    dataset = make_eval_dataset(ShardedDataset.open(data), "test", finished.bands, batch_size=8, replica=Replica())
    table = predict_dataset(make_predict_step(finished.model), dataset, Replica(), 13)
    return compute_scores(table.labels, table.probabilities)


def test_test_scores_are_those_of_the_best_checkpoint_not_of_the_last(data, tmp_path):
    # The learning rate is too high: the run ends with the first epoch that is not better than the one before.
    schedule = ScheduleConfig(name="constant", peak=3e-2)
    result = train(
        make_config(data, epochs=9, early_stopping_epochs=1, schedule=schedule), tmp_path / "workdir", Replica()
    )
    assert result.epochs == result.best_epoch + 1 < 9
    finished = load_finished_run(tmp_path / "workdir")
    assert scores_of(data, finished) == pytest.approx(result.test)
    last = tf.train.latest_checkpoint(str(tmp_path / "workdir" / "checkpoints" / "latest"))
    tf.train.Checkpoint(model=finished.model).restore(last).assert_existing_objects_matched().expect_partial()
    assert scores_of(data, finished) != pytest.approx(result.test)


def test_few_checkpoints_are_kept_and_the_best_contains_only_the_model(run):
    counts = {name: len(list((run[0] / "checkpoints" / name).glob("*.index"))) for name in ("latest", "best")}
    assert counts == {"latest": 2, "best": 1}
    assert any(key.startswith("optimizer/") for key in weights_of(run[0], "latest"))
    assert all(key.startswith("model/") for key in weights_of(run[0], "best"))


def weights_of(workdir, name):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / name))
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        # Without the duration of training and TensorFlow's count of saves in a process.
        if "VARIABLE_VALUE" in key and "_seconds" not in key and not key.startswith("save_counter")
    }


def check_same_end(workdir, other):
    for name in ("latest", "best"):
        one, two = weights_of(workdir, name), weights_of(other, name)
        assert set(one) == set(two)
        for key, value in one.items():
            np.testing.assert_array_equal(two[key], value, err_msg=key)
    assert (workdir / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (workdir, other)]
    for result in results:
        del result["train_seconds"], result["input_share"]
    assert results[0] == results[1]


class CountSteps(Hook):
    """Keeps the number of steps of each execution."""

    def __init__(self):
        self.counts = []

    def after_execution(self, execution):
        self.counts.append(len(execution.losses))


def test_several_steps_in_an_execution_train_the_same(data, run, tmp_path):
    count = CountSteps()
    train(make_config(data, steps_per_execution=4), tmp_path / "workdir", Replica(), hooks=[count])
    assert count.counts == [4, 2] * 4
    assert (tmp_path / "workdir" / "history.jsonl").read_bytes() == (run[0] / "history.jsonl").read_bytes()
    expected = weights_of(run[0], "best")
    for key, value in weights_of(tmp_path / "workdir", "best").items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


# Dropout, augmentation, mixup and an average of weights: everything that a resumed run could lose.
INTERRUPTED = """
import dataclasses, os, signal, sys
from bigearth_tf.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.runtime.stop_signal import Stopped
from bigearth_tf.training.hooks import Hook
from bigearth_tf.training.train import train
config = TrainConfig(
    model="wide_resnet_eca_b0", model_overrides="resolution_px=15, width=0.5, dropout=0.3",
    data=DataConfig(data_dir=sys.argv[1], bands="RGB", shuffle_mb=2.0, mixup_alpha=0.3),
    optimizer=OptimizerConfig(name="adamw", weight_decay=1e-3, clip_norm=1.0, ema_decay=0.9),
    schedule=ScheduleConfig(name="cosine", peak=3e-3), checkpoint_steps=2,
    epochs=3, global_batch_size=8, best_metric="micro_f1")
die_at = [int(step) for step in sys.argv[3].split(",") if step]
how = getattr(signal, sys.argv[4])
class DieAfterSomeSteps(Hook):
    def after_execution(self, execution):
        if execution.last_step in die_at:
            os.kill(os.getpid(), how)
try:
    train(config, sys.argv[2], Replica(), hooks=[DieAfterSomeSteps()])
except Stopped:
    sys.exit(75)
"""


def run_script(data, workdir, die_at=(), how="SIGKILL"):
    return warm_python.run(["-c", INTERRUPTED, data, workdir, ",".join(map(str, die_at)), how])


@pytest.fixture(scope="module")
def never_killed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "workdir"
    result = run_script(data, workdir)
    assert result.returncode == 0, result.stderr[-3000:]
    return workdir


# In the middle of the first epoch, between two checkpoints of the second, at the last step.
@pytest.mark.parametrize("steps", [(9,), pytest.param((3, 9, 18), marks=pytest.mark.full)])
def test_killed_at_any_step_it_ends_with_the_same_weights_and_logs(data, never_killed, tmp_path, steps):
    workdir = tmp_path / "workdir"
    for step in steps:
        assert run_script(data, workdir, [step]).returncode == -signal.SIGKILL
        assert not (workdir / "result.json").exists()
    # As if the power had failed while the newest checkpoint was written.
    newest = sorted((workdir / "checkpoints" / "latest").glob("*.data-*"), key=lambda path: path.stat().st_mtime)[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    result = run_script(data, workdir)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "cannot be read and is skipped" in result.stderr
    check_same_end(never_killed, workdir)


# test_stop_signal.py tests that each of the signals is received.
@pytest.mark.parametrize(
    "name", ["SIGINT", *(pytest.param(name, marks=pytest.mark.full) for name in ("SIGUSR1", "SIGTERM", "SIGHUP"))]
)
def test_a_run_that_is_asked_to_stop_saves_and_resumes_later(data, never_killed, tmp_path, name):
    workdir = tmp_path / "workdir"
    assert run_script(data, workdir, [4], name).returncode == 75
    steps = [row["step"] for row in read_history(workdir)]
    assert steps == [1, 2, 3, 4, 5]  # The ranks agree to stop in the step after the signal.
    assert run_script(data, workdir).returncode == 0
    check_same_end(never_killed, workdir)


# Waits in its second step for the file "go" in the work folder's parent.
WAITING = """
import sys, time
from pathlib import Path
from bigearth_tf.config import DataConfig, TrainConfig
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.training.hooks import Hook
from bigearth_tf.training.train import train
workdir = Path(sys.argv[2])
class Wait(Hook):
    def after_execution(self, execution):
        print("begun", flush=True)
        while not (workdir.parent / "go").exists():
            time.sleep(0.05)
config = TrainConfig(
    model="mlp_mixer_tiny", model_overrides="resolution_px=15, patch_size=5, dim=8, depth=1",
    data=DataConfig(data_dir=sys.argv[1], bands="RGB", shuffle_mb=2.0), epochs=1, global_batch_size=24)
train(config, workdir, Replica(), hooks=[Wait()])
"""


def test_a_second_training_in_a_folder_is_told_who_holds_it_and_resumes_when_the_first_was_killed(data, tmp_path):
    arguments = ["-c", WAITING, data, tmp_path / "workdir"]
    first = warm_python.start(arguments, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "begun\n"
    config = make_config(
        data,
        model="mlp_mixer_tiny",
        model_overrides="resolution_px=15, patch_size=5, dim=8, depth=1",
        epochs=1,
        global_batch_size=24,
        schedule=ScheduleConfig(),
        best_metric="macro_f1",
    )
    in_use = rf"workdir: in use by process {first.pid} on \S+ since \S+ \S+ UTC. Wait for it, or end it"
    with pytest.raises(ValueError, match=in_use):
        train(config, tmp_path / "workdir", Replica())
    assert not (tmp_path / "workdir" / "history.jsonl").read_text()
    first.kill()
    first.wait()
    train(config, tmp_path / "workdir", Replica())
    assert [row["step"] for row in read_history(tmp_path / "workdir")] == [1, 2, 2]
    assert not list((tmp_path / "workdir").glob(".lock*"))


def test_a_finished_run_is_not_trained_again(data, run, monkeypatch):
    monkeypatch.setattr(train_module, "make_train_state", None)
    assert train(make_config(data), run[0], Replica()) == run[1]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 5}, r'-   "epochs": 4,\n\+   "epochs": 5,'),
        ({"data": DataConfig(bands="B02,B03,B04", shuffle_mb=2.0)}, r'\+    "bands": "B02,B03,B04"'),
    ],
)
def test_a_work_folder_of_another_config_is_refused_with_the_difference(data, run, changes, difference):
    config = make_config(data, **changes)
    config.data.data_dir = str(data)
    with pytest.raises(ValueError, match=f"(?s)belongs to another run.*{difference}"):
        train(config, run[0], Replica())


def test_other_data_are_refused_and_moved_data_are_accepted(data, run, tmp_path):
    moved = shutil.copytree(data, tmp_path / "moved")
    assert train(make_config(moved), run[0], Replica()) == run[1]
    write_records(tmp_path / "other", {"train": 48, "val": 12, "test": 13}, seed=1)
    with pytest.raises(ValueError, match="shards_sha256"):
        train(make_config(tmp_path / "other"), run[0], Replica())


def test_a_wrong_config_is_refused_before_anything_is_written(data, tmp_path):
    for changes, message in (
        (
            {"data": DataConfig(data_dir=str(data), bands="S2")},
            "Unknown band .*B05.*allowed are the bands B04, B03, B02",
        ),
        ({"data": DataConfig()}, "data.data_dir"),
        ({"global_batch_size": 64}, "more than the 48 training records"),
        ({"best_metric": "accuracy"}, "best_metric='accuracy'.*macro_f1"),
        ({"epochs": 0}, "epochs"),
        ({"model": "resnet"}, "Unknown model 'resnet'"),
        ({"model_overrides": "depth=11"}, "6 N"),
        ({"schedule": ScheduleConfig(warmup_steps=24)}, "warmup_steps=24 leaves nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            train(make_config(data, **changes), tmp_path / "workdir", Replica())
        assert not (tmp_path / "workdir").exists()


def test_a_data_set_without_a_test_split_is_refused_before_anything_is_written(tmp_path):
    write_records(tmp_path / "records", {"train": 16, "val": 4})
    with pytest.raises(ValueError, match="No split 'test' in this data set; it has train, val"):
        train(make_config(tmp_path / "records"), tmp_path / "workdir", Replica())
    assert not (tmp_path / "workdir").exists()


def test_a_loss_that_is_not_finite_stops_the_run(data, tmp_path):
    config = make_config(data, schedule=ScheduleConfig(name="constant", peak=1e38))
    with pytest.raises(
        ValueError, match=r"epoch \d/4, step \d: the loss is not finite. Lower schedule.peak.*rank 0: train_\d+, "
    ):
        train(config, tmp_path / "workdir", Replica())


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "experiments" / "configs").glob("[a-z]*.py")), ids=lambda p: p.stem
)
def test_every_config_is_valid_and_builds(path):
    config = importlib.import_module(f"experiments.configs.{path.stem}").get_config()
    config.data.data_dir = "somewhere"
    validate(config)
    shards = [Shard(f"{split}.tfrecord", split, 9, 1, "0", (3, 3, 3)) for split in ("train", "val", "test")]
    config = resolve_config(config, make_manifest(get_bands("S2"), shards, MULTI_LABEL))
    assert config.best_metric in selection_scores(LabelKind.MULTI)
    make_optimizer(config.optimizer, make_schedule(config.schedule, 10000, config.global_batch_size))
    build_once(config.model, config.data.bands, config.model_overrides)


@functools.cache
def build_once(model, bands, overrides):
    create_model(model, bands=bands, num_classes=19, **parse_overrides(overrides))


def make_net(value):
    net = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    net.build((None, 1))
    net.set_weights([np.float32([[value]])])
    return net


def make_checkpoints(folder, net, settings="x"):
    progress = Progress()
    return progress, RunCheckpoints(folder, progress, settings, model=net, optimizer=keras.optimizers.SGD())


def save_latest(folder, step, value):
    progress, checkpoints = make_checkpoints(folder, make_net(value))
    progress.step.assign(step)
    checkpoints.save_latest()


def test_the_best_checkpoint_stays_and_the_latest_is_replaced(tmp_path):
    net = make_net(1)
    progress, checkpoints = make_checkpoints(tmp_path, net)
    for step, value in enumerate((5, 6), start=1):
        progress.step.assign(step)
        net.set_weights([np.float32([[value]])])
        checkpoints.save_latest()
        if step == 1:
            checkpoints.save_best()
    restored = make_net(0)
    restore_best(tmp_path, restored)
    assert float(restored.weights[0]) == 5
    progress, again = make_checkpoints(tmp_path, restored)
    assert again.resume()
    assert (float(restored.weights[0]), int(progress.step)) == (6, 2)


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    assert not make_checkpoints(tmp_path, make_net(0))[1].resume()
    with pytest.raises(FileNotFoundError, match="no best checkpoint"):
        restore_best(tmp_path, make_net(0))
    with pytest.raises(FileNotFoundError, match=r"config.json: missing. Name the --workdir of a finished run"):
        load_finished_run(tmp_path)


@pytest.mark.parametrize("damage", ["data", "index", "gone"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(tmp_path, damage):
    save_latest(tmp_path, 1, 7)
    save_latest(tmp_path, 2, 8)
    for path in (tmp_path / "checkpoints" / "latest").glob("ckpt-2.*"):
        if damage == "gone":
            path.unlink()
        elif damage in path.name:
            path.write_bytes(path.read_bytes()[:-9])
    net = make_net(0)
    progress, checkpoints = make_checkpoints(tmp_path, net)
    assert checkpoints.resume()
    assert (float(net.weights[0]), int(progress.step)) == (7, 1)


def test_checkpoints_that_are_all_damaged_or_of_other_settings_are_an_error(tmp_path):
    save_latest(tmp_path, 1, 7)
    with pytest.raises(ValueError, match="is of a run of other settings"):
        make_checkpoints(tmp_path, make_net(0), settings="y")[1].resume()
    for path in (tmp_path / "checkpoints" / "latest").glob("ckpt-1.data*"):
        path.write_bytes(b"half")
    with pytest.raises(ValueError, match="none of the checkpoints can be read. Remove the work folder"):
        make_checkpoints(tmp_path, make_net(0))[1].resume()


def test_a_model_that_does_not_fit_the_checkpoint_is_an_error(tmp_path):
    _, checkpoints = make_checkpoints(tmp_path, make_net(1))
    checkpoints.save_best()
    other = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    other.build((None, 1))
    with pytest.raises((AssertionError, ValueError)):
        restore_best(tmp_path, other)


def test_early_stopping_ends_a_run_that_no_longer_improves(data, tmp_path):
    smallest = {"model": "mlp_mixer_tiny", "model_overrides": "resolution_px=15, patch_size=5, dim=8, depth=1"}
    schedule = ScheduleConfig(name="constant", peak=1e-9)
    config = make_config(data, epochs=9, early_stopping_epochs=2, schedule=schedule, **smallest)
    result = train(config, tmp_path / "workdir", Replica())
    assert result.epochs == result.best_epoch + 2 < 9


def test_the_l2_penalty_is_in_the_loss(data, tmp_path):
    plain = train(make_config(data, epochs=1), tmp_path / "plain", Replica())
    config = make_config(data, epochs=1)
    config.loss.l2 = 0.1
    train(config, tmp_path / "l2", Replica())
    first = [read_history(tmp_path / name)[0]["loss"] for name in ("plain", "l2")]
    assert first[1] > first[0] + 1
    assert plain.epochs == 1


@pytest.mark.parametrize("changes", [
    {"precision": "mixed_float16"}, {"xla": True},
    pytest.param({"precision": "mixed_bfloat16"}, marks=pytest.mark.full),
])  # fmt: skip
def test_mixed_precision_and_xla_learn(data, tmp_path, changes):
    result = train(make_config(data, epochs=3, **changes), tmp_path / "workdir", Replica())
    assert result.test["micro_f1"] > result.always_most_frequent_labels.test["micro_f1"]


def test_parts_of_a_batch_add_up_to_it(data, tmp_path):
    """Without batch norm, whose statistics are those of a part, accumulation only changes the rounding."""
    histories = []
    for accumulate in (1, 4):
        config = make_config(data, epochs=1, model="mlp_mixer_tiny", model_overrides="dim=8, depth=1")
        config.optimizer.accumulate = accumulate
        train(config, tmp_path / str(accumulate), Replica())
        histories.append([row["loss"] for row in read_history(tmp_path / str(accumulate))])
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-5)
    assert histories[0] != histories[1] or len(set(histories[0])) > 1


@pytest.mark.full
def test_the_watchdog_ends_a_run_that_hangs(data, tmp_path):
    script = INTERRUPTED.replace(
        "checkpoint_steps=2,", "checkpoint_steps=2, communication=CommunicationConfig(stall_timeout_s=10),"
    )
    script = script.replace("import DataConfig", "import CommunicationConfig, DataConfig")
    script = script.replace("os.kill(os.getpid(), how)", "import time; time.sleep(100_000)")
    result = warm_python.run(["-c", script, data, tmp_path / "workdir", "7", "SIGTERM"])
    assert result.returncode == 70
    assert "rank 0: no step for" in result.stderr
    assert "epoch 2/3, step 1" in result.stderr
    assert "in after_execution" in result.stderr  # The Python stack shows where.
