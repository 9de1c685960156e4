"""Does a run learn, go on where it stopped as if it never had, and end with the scores of its best weights?"""

import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from records import CLASS_NAMES, write_records

from bigearth_tf import train as train_module
from bigearth_tf.checkpoint import RunCheckpoints, restore_best
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig, parse_overrides, validate
from bigearth_tf.distributed import Replica
from bigearth_tf.evaluate import make_predict_step, predict_dataset
from bigearth_tf.input_pipeline import make_eval_dataset
from bigearth_tf.metrics import SELECTION_SCORES, compute_scores
from bigearth_tf.models import create_model
from bigearth_tf.optimizers import make_optimizer
from bigearth_tf.run_folder import load_finished_run
from bigearth_tf.schedules import make_schedule
from bigearth_tf.train import train

REPOSITORY = Path(__file__).parents[2]


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
    assert result == json.loads((workdir / "result.json").read_text())
    assert result["test"]["micro_f1"] > result["always_most_frequent_labels"]["test"]["micro_f1"] + 0.1
    assert list(result["test_classes"]) == list(CLASS_NAMES)
    assert sum(row["support"] for row in result["test_classes"].values()) == 13 + 5


def test_the_work_folder_says_what_was_run(run):
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
    assert seen["train/loss"] == seen["val/macro_f1"] == seen["train/learning_rate"] == [1, 2, 3, 4]


def test_test_scores_are_those_of_the_best_checkpoint(data, run, tmp_path):
    workdir, result = run
    finished = load_finished_run(workdir)
    dataset = make_eval_dataset(
        data, train_module.read_manifest(data), "test", finished.bands, batch_size=8, replica=Replica()
    )
    table = predict_dataset(make_predict_step(finished.model), dataset, Replica(), 13)
    assert compute_scores(table.labels, table.probabilities) == pytest.approx(result["test"])


def weights_of(workdir, name):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / name))
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        # Not the seconds that training took, nor TensorFlow's own count of saves in a process.
        if "VARIABLE_VALUE" in key and not key.startswith(("counters/3", "save_counter"))
    }


def test_killed_and_started_again_it_ends_with_the_same_weights(data, run, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    epochs, real = [], train_module._train_epoch

    def killed_in_the_third(*args):
        epochs.append(args[2])
        if len(epochs) == 3:
            raise Killed
        return real(*args)

    monkeypatch.setattr(train_module, "_train_epoch", killed_in_the_third)
    with pytest.raises(Killed):
        train(make_config(data), tmp_path / "workdir", Replica())
    monkeypatch.undo()
    assert not (tmp_path / "workdir" / "result.json").exists()
    result = train(make_config(data), tmp_path / "workdir", Replica())
    for name in ("latest", "best"):
        one, other = weights_of(run[0], name), weights_of(tmp_path / "workdir", name)
        assert set(one) == set(other)
        for key, value in one.items():
            np.testing.assert_array_equal(other[key], value, err_msg=key)
    drop = {"train_seconds"}
    assert {k: v for k, v in result.items() if k not in drop} == {k: v for k, v in run[1].items() if k not in drop}


def test_a_finished_run_is_not_done_again(data, run, monkeypatch):
    monkeypatch.setattr(train_module, "create_model", None)
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


def test_other_data_are_refused_and_moved_data_are_not(data, run, tmp_path):
    moved = shutil.copytree(data, tmp_path / "moved")
    assert train(make_config(moved), run[0], Replica()) == run[1]
    write_records(tmp_path / "other", {"train": 48, "val": 12, "test": 13}, seed=1)
    with pytest.raises(ValueError, match="shards_sha256"):
        train(make_config(tmp_path / "other"), run[0], Replica())


def test_what_cannot_work_is_refused_before_anything_is_written(data, tmp_path):
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
    with pytest.raises(ValueError, match=r"epoch 1/4, step \d: the loss is (nan|inf). Lower schedule.peak"):
        train(config, tmp_path / "workdir", Replica())


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "experiments" / "configs").glob("[a-z]*.py")), ids=lambda p: p.stem
)
def test_every_config_is_valid_and_builds(path):
    config = importlib.import_module(f"experiments.configs.{path.stem}").get_config()
    config.data.data_dir = "somewhere"
    validate(config)
    assert config.best_metric in SELECTION_SCORES
    make_optimizer(config.optimizer, make_schedule(config.schedule, 10000))
    create_model(config.model, bands=config.data.bands, num_classes=19, **parse_overrides(config.model_overrides))


def make_net(value):
    net = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    net.build((None, 1))
    net.set_weights([np.float32([[value]])])
    return net


def test_best_stays_best_and_latest_moves_on(tmp_path):
    net = make_net(0)
    checkpoints = RunCheckpoints(tmp_path, net, keras.optimizers.SGD())
    for epoch, score in enumerate((0.2, 0.7, 0.7, 0.1), start=1):
        net.set_weights([np.float32([[epoch]])])
        assert checkpoints.save_epoch(epoch, score, 1.5) == (epoch in (1, 2))
    restored = make_net(0)
    restore_best(tmp_path, restored)
    assert float(restored.weights[0]) == 2
    again = RunCheckpoints(tmp_path, restored, keras.optimizers.SGD())
    assert again.resume()
    assert float(restored.weights[0]) == 4
    assert (int(again.epochs_done), int(again.best_epoch), float(again.best_score)) == (4, 2, 0.7)
    assert float(again.train_seconds) == 6.0


def test_there_is_no_restoring_of_nothing(tmp_path):
    assert not RunCheckpoints(tmp_path, make_net(0), keras.optimizers.SGD()).resume()
    with pytest.raises(FileNotFoundError, match="no best checkpoint"):
        restore_best(tmp_path, make_net(0))
    with pytest.raises(FileNotFoundError, match=r"config.json: missing. Name the --workdir of a run that has ended"):
        load_finished_run(tmp_path)


def test_a_checkpoint_cut_short_is_passed_over_for_the_one_before(tmp_path):
    net = make_net(7)
    checkpoints = RunCheckpoints(tmp_path, net, keras.optimizers.SGD())
    checkpoints.save_epoch(1, 0.5, 1.0)
    # What a process killed while it writes leaves: files that the state file does not name yet.
    (tmp_path / "checkpoints" / "latest" / "ckpt-2.data-00000-of-00001").write_bytes(b"half")
    again = make_net(0)
    assert RunCheckpoints(tmp_path, again, keras.optimizers.SGD()).resume()
    assert float(again.weights[0]) == 7


def test_a_model_that_does_not_fit_the_checkpoint_is_an_error(tmp_path):
    RunCheckpoints(tmp_path, make_net(1), keras.optimizers.SGD()).save_epoch(1, 0.5, 1.0)
    other = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    other.build((None, 1))
    with pytest.raises((AssertionError, ValueError)):
        restore_best(tmp_path, other)
