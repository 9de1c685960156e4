"""A sweep trains the model of an index in its own folder, and writes a table of all finished runs."""

import csv
import json
import os

import pytest

from bigearth_tf.config import TrainConfig
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runs.record import (
    ConstantPrediction,
    DatasetRecord,
    RunResult,
    RunSettings,
    write_result,
    write_settings,
)
from tests.support import warm_python
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

CONFIG = """
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig


def get_config():
    return TrainConfig(
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(bands="RGB", shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3),
        epochs=1,
        global_batch_size=8,
        best_metric="macro_f1",
    )
"""


def sweep(*arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", **variables}
    return warm_python.run(["-m", "experiments.sweep", *arguments], cwd=REPOSITORY, env=environment)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG)
    return path


def test_the_list_does_not_depend_on_the_order_of_the_patterns():
    result = sweep("--list", "--models=wide_resnet_s*,vit_6,vit_12,wide_resnet_se")
    assert result.returncode == 0, result.stderr
    *rows, last = result.stdout.splitlines()
    assert [row.split() for row in rows] == [
        ["0", "vit_6"], ["1", "vit_12"], ["2", "wide_resnet_se"], ["3", "wide_resnet_se_ghost"],
    ]  # fmt: skip
    assert "sbatch --array=0-3 slurm/zoo.sbatch --models='wide_resnet_s*,vit_6,vit_12,wide_resnet_se'" in last


@pytest.mark.parametrize(("arguments", "message"), [
    (["--list", "--models=resnet5"], "--models=resnet5: no model has such a name; did you mean resnet50"),
    (["--models=vit_6", "--workdir=x"], "Training needs --config and --workdir"),
    (["CONFIG", "--models=vit_6", "--workdir=x"], "Name the model to train with --task_index, or submit"),
    (["CONFIG", "--models=vit_6,vit_12", "--workdir=x", "--task_index=2"], "task 2: expected 0 ... 1"),
    (["CONFIG", "--models=vit_6", "--workdir=x", "--task_index=0", "--config.model=vit_12"], "leave it out; --models"),
    (["--table"], "--table needs --workdir"),
    (["--table", "--workdir=nowhere"], "nowhere: contains no folder with a result.json"),
])  # fmt: skip
def test_wrong_arguments_are_refused(config, arguments, message):
    result = sweep(*(f"--config={config}" if argument == "CONFIG" else argument for argument in arguments))
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_task_of_an_array_trains_its_model_with_the_config_and_its_overrides(config, tmp_path):
    write_records(tmp_path / "records", {"train": 16, "val": 8, "test": 4}, num_shards=1)
    arguments = [f"--config={config}", "--config.global_batch_size=16", "--models=wide_resnet,wide_resnet_se"]
    result = sweep(
        *arguments, f"--data_dir={tmp_path / 'records'}", f"--workdir={tmp_path / 'zoo'}", SLURM_ARRAY_TASK_ID="1"
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "wide_resnet_se: " in result.stdout
    assert [path.name for path in (tmp_path / "zoo").iterdir()] == ["wide_resnet_se"]
    settings = json.loads((tmp_path / "zoo" / "wide_resnet_se" / "config.json").read_text())["config"]
    assert (settings["model"], settings["global_batch_size"]) == ("wide_resnet_se", 16)
    assert settings["model_overrides"] == "resolution_px=15, width=0.5"


def write_run(folder, val, test, best_metric="macro_f1"):
    folder.mkdir(parents=True)
    dataset = DatasetRecord("bigearthnet_v1", "somewhere", "free", LabelKind.MULTI, (), (), {}, shards_sha256="0")
    write_settings(folder, RunSettings(TrainConfig(best_metric=best_metric), dataset, versions={}, git_commit=None))
    result = RunResult(
        model=folder.name,
        num_parameters=1234,
        best_epoch=3,
        epochs=4,
        train_seconds=61.25,
        input_share=0.1,
        val=val,
        test=test,
        test_classes={},
        always_most_frequent_labels=ConstantPrediction((), {}),
    )
    write_result(folder, result)


def test_the_table_has_the_best_validation_score_first_and_unfinished_runs_are_named(tmp_path):
    write_run(tmp_path / "vit_6", {"macro_f1": 0.5}, {"micro_f1": 0.9, "macro_f1": 0.8})
    write_run(tmp_path / "vit_12", {"macro_f1": 0.7}, {"micro_f1": 0.6, "macro_f1": 0.51237, "micro_f2": 0.5})
    write_run(tmp_path / "resnet50", {"accuracy": 0.6}, {"accuracy": 0.4, "macro_f1": 0.3}, best_metric="accuracy")
    (tmp_path / "vgg16").mkdir()
    (tmp_path / "vgg16" / "config.json").write_text("{}")
    result = sweep(f"--workdir={tmp_path}", "--table")
    assert result.returncode == 0, result.stderr
    assert "not finished: vgg16\n3 runs; wrote " in result.stdout
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["vit_12", "resnet50", "vit_6"]
    assert rows[0] == {
        "model": "vit_12", "parameters": "1234", "best_epoch": "3", "chosen_by": "macro_f1", "val_score": "0.7000",
        "test_micro_f1": "0.6000", "test_macro_f1": "0.5124", "test_macro_present_f1": "", "test_accuracy": "",
        "train_seconds": "61.2", "test_micro_f2": "0.5000",
    }  # fmt: skip
    assert rows[1]["test_accuracy"] == "0.4000"
    assert (tmp_path / "sweep.md").read_text().splitlines()[2] == (
        "| `vit_12` | 1,234 | 3 | macro_f1 | 0.7000 | 0.6000 |  | 0.5124 |  | 61.2 |"
    )
    assert (tmp_path / "sweep.md").read_text() in result.stdout
