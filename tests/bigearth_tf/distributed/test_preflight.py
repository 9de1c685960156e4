"""Tests that ranks that do not fit together all end early, with a message that names the rank and the fix."""

import dataclasses
import importlib.util
import os
import subprocess
import sys

import pytest

from bigearth_tf.distributed import preflight, rank_report
from bigearth_tf.distributed.consensus import RanksDiffer, _describe_difference, run_on_all_ranks_before_horovod
from bigearth_tf.distributed.rendezvous import exchange_messages
from bigearth_tf.runtime.exit_codes import EXIT_RANKS_DIFFER
from tests.support.horovod_ranks import Ranks
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

needs_horovod = pytest.mark.skipif(importlib.util.find_spec("horovod") is None, reason="Horovod is not installed")

CONFIG = """
from bigearth_tf.config import DataConfig, ScheduleConfig, TrainConfig
def get_config():
    return TrainConfig(
        model_overrides="resolution_px=15, width=0.5", data=DataConfig(bands="RGB", shuffle_mb=2.0),
        schedule=ScheduleConfig(name="constant", peak=3e-3), epochs=1, global_batch_size=4, best_metric="micro_f1")
"""
TRAIN = "-m experiments.train --config={folder}/config.py --workdir={folder}/run "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with the data of rank 0, data of another conversion for rank 1, and a missing folder."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "config.py").write_text(CONFIG)
    write_records(folder / "records", {"train": 8, "val": 2, "test": 2})
    write_records(folder / "other-1", {"train": 8, "val": 2, "test": 2}, seed=1)
    for name in ("other-0", "missing-0", "good-0", "good-1"):
        (folder / name).symlink_to(folder / "records")
    version = folder / "site-1" / "numpy-0.0.1.dist-info"
    version.mkdir(parents=True)
    (version / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    (folder / "scratch-1").write_text("a file, not a folder")
    return folder


def launch(log_dir, command, **variables):
    """Runs a shell command on two ranks by the launcher; returns exit code, logs of the ranks, and output."""
    launcher = [sys.executable, "-m", "bigearth_tf.launch", "--ranks=2", f"--log_dir={log_dir}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY), **variables}
    result = subprocess.run(
        [*launcher, "--", "sh", "-c", command],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    logs = [(log_dir / f"rank-{rank}.log").read_text() for rank in range(2)]
    return result.returncode, logs, result.stdout + result.stderr


MISFITS = pytest.mark.parametrize(
    ("command", "variables", "messages"),
    [
        (
            TRAIN + "--data_dir={folder}/missing-$HOROVOD_RANK",
            {},
            ["rank 1 on ", "missing-1/manifest.json: there is no manifest", "must see the same data"],
        ),
        (
            TRAIN + "--data_dir={folder}/other-$HOROVOD_RANK",
            {},
            ["Ranks disagree on config and data: rank 0 has dataset.shards_sha256=", "Give every rank the same flags"],
        ),
        (
            TRAIN + "--data_dir={folder}/records",
            {"PYTHONPATH": "{folder}/site-$HOROVOD_RANK:" + str(REPOSITORY)},
            ["Ranks disagree on software: rank 0 has numpy=", 'rank 1 has numpy="0.0.1"', "one environment"],
        ),
        (
            TRAIN + "--data_dir={folder}/records --stage_dir={folder}/scratch-$HOROVOD_RANK",
            {},
            ["rank 1 on ", "scratch-1", "room on their own disks"],
        ),
        (
            "-m experiments.evaluate --workdir={folder}/run-$HOROVOD_RANK --data_dir={folder}/good-0",
            {},
            ["error: ", "run-{rank}/config.json: missing. Name the --workdir of a finished run"],
        ),
    ],
    ids=["no data", "other data", "other version", "no scratch", "same on all"],
)  # fmt: skip


@needs_horovod
@MISFITS
def test_ranks_that_do_not_fit_together_all_end_with_the_message(folder, command, variables, messages):
    variables = {name: value.format(folder=folder) for name, value in variables.items()}
    ranks = Ranks(2, command.format(folder=folder).split(), **variables)
    codes = ranks.wait().codes
    logs = [ranks.output(rank) for rank in range(2)]
    check_ends(folder, logs, messages, ranks.output())
    # An error that all ranks have ends them like one process.
    code = 1 if "same on all" in os.environ["PYTEST_CURRENT_TEST"] else EXIT_RANKS_DIFFER
    assert codes == [code, code], ranks.output()


@pytest.mark.full
@needs_horovod
@MISFITS
def test_the_launcher_ends_with_the_code_and_message_of_ranks_that_do_not_fit_together(
    folder, tmp_path, command, variables, messages
):
    exported = "".join(f"export {name}={value}; " for name, value in variables.items())
    command = f"{exported}exec {sys.executable} {command}".format(folder=folder)
    code, logs, output = launch(tmp_path / "logs", command)
    check_ends(folder, logs, messages, output)
    assert code == (1 if "same on all" in os.environ["PYTEST_CURRENT_TEST"] else EXIT_RANKS_DIFFER), output


def check_ends(folder, logs, messages, output):
    for rank, log in enumerate(logs):
        for message in messages:
            assert message.format(rank=rank) in log, output
        assert "Traceback" not in log
    assert not (folder / "run").exists()


@needs_horovod
def test_an_action_that_fails_on_one_rank_ends_all_with_its_message(tmp_path):
    script = (
        "import os\n"
        "from bigearth_tf.distributed.consensus import exit_if_ranks_differ, run_on_all_ranks_before_horovod\n"
        "with exit_if_ranks_differ():\n"
        "    run_on_all_ranks_before_horovod(lambda: 1 / (1 - int(os.environ['HOROVOD_RANK'])))"
    )
    code, logs, output = launch(tmp_path / "logs", f'exec {sys.executable} -c "$SCRIPT"', SCRIPT=script)
    assert code == EXIT_RANKS_DIFFER, output
    for log in logs:
        assert "rank 1 on " in log and "division by zero" in log and "Traceback" not in log


PREFLIGHT = """
import sys, time
from absl import logging
from bigearth_tf.distributed import preflight, rank_report
from bigearth_tf.distributed.consensus import RanksDiffer, run_on_all_ranks
from bigearth_tf.distributed.replica import start_replica
logging.set_verbosity(logging.INFO)
replica = start_replica()
real = time.time
time.time = lambda: real() + 5 * replica.rank
offsets = rank_report.measure_clock_offsets(replica)
assert abs(offsets[0]) < 0.1 and abs(offsets[1] - 5) < 0.5, offsets
preflight.run_preflight(replica)
for failing, error in (({0, 1}, ZeroDivisionError), ({1}, RanksDiffer), ({0}, RanksDiffer)):
    try:
        run_on_all_ranks(lambda: 1 / (replica.rank not in failing), replica)
    except error as caught:
        assert error is ZeroDivisionError or f"rank {min(failing)} on " in str(caught), caught
    else:
        raise AssertionError("no rank raised")
assert run_on_all_ranks(lambda: replica.rank, replica) == replica.rank
try:
    preflight._check("kind of device", ["CPU", "GPU"][replica.rank], replica)
except RanksDiffer as error:
    assert "rank 0 has CPU, rank 1 has GPU" in str(error) and "a GPU of its own" in str(error), error
else:
    raise AssertionError("a rank without a GPU was not reported")
"""


@needs_horovod
def test_rank_0_logs_the_ranks_and_the_speed_of_the_network():
    ranks = Ranks(2, ["-c", PREFLIGHT])
    assert ranks.wait().codes == [0, 0], ranks.output()
    logs = [ranks.output(rank) for rank in range(2)]
    assert "pre-flight: ranks: 2, hosts: 1" in logs[0]
    assert "the clock of rank 1 on" in logs[0]
    table = logs[0].split("bandwidth of a rank's link")[1].splitlines()[1:]
    rows = [line.split() for line in table if " KiB " in line]
    assert [int(row[0]) for row in rows] == [4, 64, 1024, 16384, 65536][: len(rows)]
    assert len(rows) >= 3
    # Each of two ranks sends as many bytes as the sum has.
    for kib, _, milliseconds, _, bandwidth, _ in rows[2:]:
        assert float(bandwidth) == pytest.approx(1024 * int(kib) / float(milliseconds) / 1e3, rel=0.02)
    assert "pre-flight" not in logs[1]


def report(**changes):
    return dataclasses.replace(rank_report.RankReport("n1", "NVIDIA H100", "GPU-a", "0", 8, 10**11), **changes)


def test_two_ranks_on_one_gpu_are_refused_whatever_its_index_is():
    apart = [report(), report(gpu_id="GPU-b"), report(host="n2", gpu_id="GPU-c")]
    preflight._check_no_gpu_is_shared(apart)
    preflight._check_no_gpu_is_shared([report(gpu_id=""), report(gpu_id="")])  # Unknown.
    with pytest.raises(RanksDiffer, match="Ranks 1 and 3 on n1 share one GPU.*CUDA_VISIBLE_DEVICES=1.*of its own"):
        preflight._check_no_gpu_is_shared([*apart, report(gpu_id="GPU-b", visible="1")])


def test_harmless_differences_are_warnings():
    assert rank_report.find_warnings([report(), report()], [0.0, 0.9]) == []
    warnings = rank_report.find_warnings(
        [report(), report(device="CPU", cores=4, scratch_bytes=5 * 10**6)], [0.0, -2.0]
    )
    for part in ("-2.0 s off rank 0's", "5 MB of scratch", "TensorFlow sees none", "GPUs (CPU, NVIDIA", "cores (4, 8)"):
        assert sum(part in warning for warning in warnings) == 1, part
    assert len(warnings) == 5


def test_of_two_dicts_only_the_fields_that_differ_are_shown():
    one = {"config": {"seed": 1, "data": {"bands": "RGB"}}, "list": [1, 2]}
    other = {"config": {"seed": 2, "data": {"bands": "RGB"}}, "list": [1, 2], "more": None}
    assert _describe_difference(one, other) == ["config.seed=1, more=none", "config.seed=2, more=null"]
    assert len(_describe_difference({"x": list(range(1000))}, {})[0]) <= 400


def test_one_process_needs_no_server(monkeypatch):
    monkeypatch.delenv("HOROVOD_SIZE", raising=False)
    assert exchange_messages("hello") == ["hello"]
    assert run_on_all_ranks_before_horovod(lambda: 3) == 3
    with pytest.raises(KeyError):
        run_on_all_ranks_before_horovod(lambda: {}["x"])


def test_an_unreachable_server_is_reported(monkeypatch):
    variables = {"SIZE": "2", "RANK": "1", "GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "GLOO_RENDEZVOUS_PORT": "9"}
    for name, value in variables.items():
        monkeypatch.setenv(f"HOROVOD_{name}", value)
    with pytest.raises(ConnectionError, match=r"rank 1 cannot reach the launcher's server at 127.0.0.1:9"):
        exchange_messages("")
