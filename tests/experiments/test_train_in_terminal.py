"""Tests of a training in a terminal, as a user starts it: Ctrl+C, and the end of an ssh connection."""

import json
import os
import pty
import re
import sys
import time

import pytest

from tests.support.paths import REPOSITORY
from tests.support.records import write_records

LIMIT_S = 500
CONFIG = """
from bigearth_tf.config import TrainConfig
def get_config():
    return TrainConfig(
        model="mlp_mixer_tiny", model_overrides="resolution_px=15, patch_size=5, dim=8, depth=1",
        epochs=100_000, global_batch_size=8)
"""


@pytest.fixture
def terminal(tmp_path):
    """Starts a training in a terminal of its own; yields its process, the terminal, and the work folder."""
    write_records(tmp_path / "records", {"train": 16, "val": 8, "test": 4}, num_shards=1)
    (tmp_path / "tiny.py").write_text(CONFIG)
    process, master = pty.fork()
    if not process:
        os.chdir(REPOSITORY)
        os.environ.update(PYTHONPATH=str(REPOSITORY), CUDA_VISIBLE_DEVICES="")
        arguments = [f"--config={tmp_path}/tiny.py", f"--data_dir={tmp_path}/records", f"--workdir={tmp_path}/run"]
        os.execv(sys.executable, [sys.executable, "-m", "experiments.train", *arguments])
    yield process, master, tmp_path / "run"


def read_until(master, pattern):
    output, end = "", time.monotonic() + LIMIT_S
    while not re.search(pattern, output) and time.monotonic() < end:
        try:
            output += os.read(master, 4096).decode(errors="replace")
        except OSError:  # The process has ended.
            return output
    return output


def check_saved(workdir):
    steps = [json.loads(line)["step"] for line in (workdir / "history.jsonl").read_text().splitlines()]
    (newest,) = re.findall(
        r'^model_checkpoint_path: "ckpt-(\d+)"', (workdir / "checkpoints/latest/checkpoint").read_text()
    )
    assert int(newest) == steps[-1]
    assert not list(workdir.glob(".lock*"))


@pytest.mark.full
def test_ctrl_c_saves_and_one_line_says_how_to_continue(terminal):
    process, master, workdir = terminal
    read_until(master, "epoch 2: loss")
    os.write(master, b"\x03")
    output = read_until(master, "no such text")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 75
    lines = output[output.index("^C") :].replace("\r", "\n").splitlines()
    said = [line for line in lines if line.strip() and "img/s" not in line and "^C" not in line]
    assert said[0] == "Ctrl+C: saving, then ending. Press Ctrl+C again to end at once."
    assert re.search(r"asked to stop; saved after step \d+\. Run the same command again to resume\.$", said[-1])
    assert "Traceback" not in output
    check_saved(workdir)


@pytest.mark.full
def test_the_end_of_the_terminal_saves(terminal):
    process, master, workdir = terminal
    read_until(master, "epoch 2: loss")
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 75
    check_saved(workdir)
