"""Tests that the search finds the networks of its grid, trains each once, and ranks them by validation score."""

import csv
import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.support import warm_python
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

CONFIG = """
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig


def get_config():
    return TrainConfig(
        model="wide_resnet",
        model_overrides="dropout=0.0",
        data=DataConfig(bands="RGB", shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3),
        epochs=1,
        global_batch_size=8,
        best_metric="micro_f1",
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG)
    return path


def search(config, *arguments, run=warm_python.run, **options):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    command = ["-m", "experiments.search_scaling", f"--config={config}", *arguments]
    return run(command, cwd=REPOSITORY, env=environment, **options)


def start(config, *arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return search(config, *arguments, run=warm_python.start, **pipes)


# With a step of 0.4 and 5 %: 1 x 1.4^2 x 1 = 1.96 and its permutations; 1.8 is 10 % off.
GRID = ("--step=0.4", "--tolerance=0.05", "--flops_budget=3")


def test_without_data_it_prints_the_networks_of_the_grid(config):
    result = search(config, *GRID)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == [
        "network",
        "depth10_width2_60px",
        "depth10_width2.8_60px",
        "depth10_width2_90px",
    ]
    assert [row[4] for row in rows[1:]] == ["60", "60", "90"]
    assert [row[5:] for row in rows[1:]] == [["1", "1", "1"], ["1", "1.4", "1"], ["1", "1", "1.4"]]
    # Without 7 of the 10 bands the stem has 7 x 9 x 16 weights fewer than 306,803; no weight depends on the resolution.
    assert rows[1][1] == rows[3][1] == f"{306803 - 1008:,}"


def test_it_merges_coefficients_of_one_network_and_keeps_the_budget(config):
    result = search(config, "--flops_budget=1.7", "--flops_tolerance=0")
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [line.split(maxsplit=5) for line in result.stdout.splitlines()[1:]]
    assert len(rows) > 1
    assert all(float(row[3]) <= 1.7 for row in rows)
    assert [row[5] for row in rows if row[0] == "depth10_width2.6_60px"] == ["1.2 1.3 1, 1.1 1.3 1"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--config.model=vit_20", "--config.model_overrides="], "only WideResNets are searched; name one of"),
    (["--config.model_overrides=width=4"], "config.model_overrides sets width, which the search varies"),
    (["--flops_budget=1"], "None of 2 networks of the grid is within the budget; give a finer --step"),
    (["--data_dir=nowhere"], "Name the folder of the search with --workdir"),
])  # fmt: skip
def test_what_cannot_be_searched_is_refused(config, arguments, message):
    result = search(config, *GRID, *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.full
def test_a_search_that_is_asked_to_stop_saves_and_says_how_to_continue(config, tmp_path):
    write_records(tmp_path / "records", {"train": 16, "val": 8, "test": 4}, num_shards=1)
    arguments = [f"--data_dir={tmp_path / 'records'}", f"--workdir={tmp_path / 'search'}", "--num_classes=3"]
    process = start(config, *GRID, *arguments, "--config.epochs=1000", "--config.checkpoint_steps=1")
    while process.poll() is None and not list((tmp_path / "search").glob("*/checkpoints/latest/*.index")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 75, errors
    last = errors.strip().splitlines()[-1]
    assert re.search(
        r"epoch \d+/1000: asked to stop; saved after step \d+. Run the same command again to resume.", last
    )
    assert "Traceback" not in errors


@pytest.mark.full
def test_it_trains_each_network_once_and_ranks_them(config, tmp_path):
    write_records(tmp_path / "records", {"train": 16, "val": 8, "test": 4}, num_shards=1)
    arguments = [*GRID, f"--data_dir={tmp_path / 'records'}", f"--workdir={tmp_path / 'search'}", "--num_classes=3"]
    result = search(config, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "candidate 2 of 2" in result.stderr
    with (tmp_path / "search" / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"depth10_width2.8_60px", "depth10_width2_90px"}
    scores = [float(row["val_micro_f1"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    for row, score in zip(rows, scores):
        trained = json.loads((tmp_path / "search" / row["name"] / "result.json").read_text())
        assert score == pytest.approx(trained["val"]["micro_f1"], abs=1e-6)
        assert int(row["parameters"]) == trained["num_parameters"]
        settings = json.loads((tmp_path / "search" / row["name"] / "config.json").read_text())["config"]
        assert f"width={float(row['width'])}, resolution_px={row['resolution_px']}" in settings["model_overrides"]
        assert settings["model_overrides"].startswith("dropout=0.0, ")
    best = " ".join(f"{float(rows[0][name]):g}" for name in ("alpha", "beta", "gamma"))
    assert f"best alpha, beta, gamma: {best}" in result.stdout

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "search").glob("*/*.json")}
    again = search(config, *arguments)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout == result.stdout
    assert {path: path.stat().st_mtime_ns for path in written} == written
