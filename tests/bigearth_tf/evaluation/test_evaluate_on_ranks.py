"""Evaluation on one, two and three real Horovod processes: the same bytes, and a rank that hangs."""

import importlib.util
import re
import sys

import pytest

from bigearth_tf.config import CommunicationConfig
from bigearth_tf.evaluation import inference
from tests.support.finished_runs import write_finished_run
from tests.support.horovod_ranks import run_on_ranks
from tests.support.records import write_records

pytestmark = pytest.mark.skipif(importlib.util.find_spec("horovod") is None, reason="Horovod is not installed")

EVALUATE = """
import sys
from pathlib import Path
from bigearth_tf.distributed.replica import start_replica
from bigearth_tf.evaluation import inference, predict_run
from bigearth_tf.evaluation.prediction_table import write_predictions
from bigearth_tf.evaluation.report import EvaluationOptions, evaluate_table, write_evaluation
replica = start_replica()
inference._BATCH_SIZE = 4
found = predict_run.predict_run(sys.argv[1], sys.argv[2], "test", replica)
assert len(found.scored.table.patch_ids) == 11 and len(found.validation.patch_ids) == 2, "every rank has every row"
if replica.is_chief:
    output = Path(sys.argv[3]) / str(replica.world_size)
    output.mkdir()
    write_predictions(found.scored, output / "predictions.parquet")
    scores = evaluate_table(found.scored, found.validation, EvaluationOptions(20, 5))
    write_evaluation({"about": found.about, **scores}, output)
"""


@pytest.mark.parametrize("rank_counts", [(2,), pytest.param((2, 3), marks=pytest.mark.full)])
def test_one_two_and_three_ranks_write_the_same_bytes(tmp_path, monkeypatch, rank_counts):
    # 11 records in 2 shards are divisible by no number of ranks; a third rank has none of the 2 records of val.
    manifest = write_records(tmp_path / "records", {"train": 4, "val": 2, "test": 11})
    write_finished_run(tmp_path / "run", manifest)
    arguments = [str(tmp_path / "run"), str(tmp_path / "records"), str(tmp_path)]
    monkeypatch.setattr(inference, "_BATCH_SIZE", 4)
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    exec(EVALUATE, {})
    for ranks in rank_counts:
        result = run_on_ranks(ranks, EVALUATE, *arguments)
        assert set(result.codes) == {0}, result.output[-6000:]
    for name in ("predictions.parquet", "evaluation.json"):
        contents = {(tmp_path / str(ranks) / name).read_bytes() for ranks in (1, *rank_counts)}
        assert len(contents) == 1, name


HANG = """
import runpy, time
from bigearth_tf.evaluation import inference
predict_dataset = inference.predict_dataset
def wait_forever(batches):
    next(batches)
    time.sleep(100_000)
def predict_or_hang(step, batches, replica, num_records):
    if replica.rank == 1:
        wait_forever(batches)
    return predict_dataset(step, batches, replica, num_records)
inference.predict_dataset = predict_or_hang
runpy.run_module("experiments.evaluate", run_name="__main__", alter_sys=True)
"""


@pytest.mark.full
def test_an_evaluation_that_hangs_ends_and_shows_where(tmp_path):
    manifest = write_records(tmp_path / "records", {"train": 4, "val": 2, "test": 11})
    write_finished_run(tmp_path / "run", manifest, communication=CommunicationConfig(stall_timeout_s=2.0))
    output = tmp_path / "evaluation"
    flags = [f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'records'}", f"--output={output}"]
    result = run_on_ranks(2, HANG, *flags)
    assert 0 not in result.codes
    assert re.search(r"rank 1 on \S+ \(process \d+\) has made no progress for longest", result.output), result.output[
        -5000:
    ]
    assert "in wait_forever" in result.output
    assert not (output / "evaluation.json").exists()
