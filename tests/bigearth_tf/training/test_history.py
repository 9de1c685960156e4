"""The history of an interrupted run: after the run has resumed, it contains each line once."""

import json

import pytest

from bigearth_tf.distributed.replica import Replica
from bigearth_tf.training.history import HISTORY_NAME, RunLog


def write_epochs(log, epochs):
    for epoch in epochs:
        for step in (2 * epoch - 1, 2 * epoch):
            log.step(step, loss=0.5, learning_rate=0.1, images_per_s=1.0, input_share=0.0)
        log.epoch(epoch, 2 * epoch, loss=0.5, scores={"micro_f1": 0.5}, is_best=True)


def places(workdir):
    """Returns the steps and epochs in the order of their lines."""
    rows = [json.loads(line) for line in (workdir / HISTORY_NAME).read_text().splitlines()]
    return [("epoch", row["epoch"]) if "epoch" in row else ("step", row["step"]) for row in rows]


ALL = [("step", 1), ("step", 2), ("epoch", 1), ("step", 3), ("step", 4), ("epoch", 2)]


# Saved within an epoch, before its validation, and after it.
@pytest.mark.parametrize(("step", "epochs_done", "kept"), [(3, 1, 4), (4, 1, 5), (4, 2, 6), (2, 0, 2), (0, 0, 0)])
def test_lines_after_the_checkpoint_are_removed(tmp_path, step, epochs_done, kept):
    write_epochs(RunLog(tmp_path, Replica(), step=0, epochs_done=0), [1, 2])
    assert places(tmp_path) == ALL
    RunLog(tmp_path, Replica(), step=step, epochs_done=epochs_done)
    assert places(tmp_path) == ALL[:kept]


def test_a_part_of_a_line_is_removed(tmp_path):
    write_epochs(RunLog(tmp_path, Replica(), step=0, epochs_done=0), [1])
    path = tmp_path / HISTORY_NAME
    path.write_text(path.read_text() + '{"step": 3, "lo')
    RunLog(tmp_path, Replica(), step=3, epochs_done=1)
    assert places(tmp_path) == ALL[:3]


def test_other_ranks_write_nothing(tmp_path):
    write_epochs(RunLog(tmp_path, Replica(rank=1, world_size=2), step=0, epochs_done=0), [1])
    assert not list(tmp_path.iterdir())
