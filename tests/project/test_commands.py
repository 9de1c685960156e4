"""Commands answer --help at once, report a user error in one message, and run the whole pipeline together."""

import ast
import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.support import warm_python
from tests.support.archives import S2_NAMES, write_lists, write_pair
from tests.support.paths import REPOSITORY

COMMANDS = sorted(
    f"{path.parent.name}.{path.stem}"
    for package in ("tfrecord_tools", "experiments")
    for path in (REPOSITORY / package).glob("*.py")
    if "run_command(main)" in path.read_text(encoding="utf-8")
)


def run(command, *arguments, cwd=REPOSITORY):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return warm_python.run(["-m", command, *arguments], cwd=cwd, env=environment)


def test_all_commands_are_seen():
    assert {"tfrecord_tools.convert", "tfrecord_tools.verify", "experiments.train", "experiments.demo"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_the_command_and_loads_nothing_heavy(command):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{command}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "    heavy = {'tensorflow', 'keras', 'osgeo', 'sklearn', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    result = warm_python.run(["-c", script], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES)
    assert not result.stderr, result.stderr
    assert f"python -m {command}" in result.stdout
    assert "flags:" in result.stdout


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("tfrecord_tools.convert", ["--output_dir=x"], "error: Name the patches with --s2, --s1, or both"),
        ("tfrecord_tools.convert", ["--output_dir=x", "--s2=nowhere"], "error: nowhere: no such folder or tar"),
        ("tfrecord_tools.convert", ["--output_dir=x", "--s2=y", "--exclude=fog"], "error: --exclude=fog: unknown"),
        ("tfrecord_tools.convert", ["--output_dir=x", "--s2=y", "--shard_mb=inf"], "error: --shard_mb=inf: expected a"),
        ("tfrecord_tools.convert", ["--output_dir=x", "--s2=y", "--num_tasks=0"], "--num_tasks"),
        ("tfrecord_tools.convert", ["--output_dir=x", "--s2=y", "--task_index=-3", "--num_tasks=2"], "--task_index"),
        ("tfrecord_tools.convert", ["--output_dir=x", "stray"], "Unexpected arguments: stray"),
        ("tfrecord_tools.verify", ["--data_dir=nowhere"], "error: nowhere/manifest.json: there is no manifest"),
        ("experiments.train", ["--config=experiments/configs/demo.py", "--workdir=x", "--config.epoch=3"], "epoch"),
        ("experiments.train", ["--config=experiments/configs/demo.py", "--workdir=x", "--data_dir=nowhere"], "nowhere"),
        ("experiments.export", ["--workdir=nowhere", "--output_dir=x"], "error: nowhere/config.json: missing"),
        ("experiments.map_scene", ["--model_dir=nowhere", "--scene=y", "--output=x.tif"], "nowhere: no SavedModel"),
        ("experiments.map_scene", ["--model_dir=m", "--scene=y", "--output=x.tif", "--num_tasks=2"], "belong together"),
        ("experiments.predict", ["--model_dir=nowhere", "--s2=y", "--output_dir=x"], "nowhere: no SavedModel"),
    ],
)  # fmt: skip
def test_a_user_error_is_one_message_without_a_traceback(command, arguments, message):
    result = run(command, *arguments)
    assert result.returncode == 1
    assert message in result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    assert not (REPOSITORY / "x").exists()


def test_git_ignores_the_default_folders_of_outputs():
    """The launcher's, too, which test_launch_here.py checks, are in runs/."""
    defaults = []
    for command in COMMANDS:
        for node in ast.walk(ast.parse((REPOSITORY / f"{command.replace('.', '/')}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "flags.DEFINE_string":
                name, default = map(ast.literal_eval, node.args[:2])
                defaults += [default] if default and name in ("output_dir", "output", "root", "workdir") else []
    assert sorted(defaults) == ["runs/demo", "runs/inspection"]
    ignored = ["git", "check-ignore", *(f"{default}/file" for default in [*defaults, "runs/launch-1"])]
    assert len(subprocess.run(ignored, cwd=REPOSITORY, capture_output=True, text=True).stdout.splitlines()) == 3


def test_the_traceback_is_there_on_request():
    result = run("tfrecord_tools.verify", "--data_dir=nowhere", "--verbosity=1")
    assert "Traceback" in result.stderr
    assert "error: nowhere" in result.stderr


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_conversion_killed_again_and_again_ends_in_the_same_bytes(tmp_path, workers):
    for index in range(20):
        write_pair(tmp_path, index, ["Pastures"])
    write_lists(tmp_path / "lists", {"train": list(range(12)), "val": list(range(12, 16)), "test": [16, 17, 18, 19]})
    arguments = [f"--s2={tmp_path / 's2'}", f"--lists_dir={tmp_path / 'lists'}", "--num_shards=4"]
    parallel = [*arguments, f"--workers={workers}"]
    assert run("tfrecord_tools.convert", *parallel, f"--output_dir={tmp_path / 'whole'}").returncode == 0
    killed = tmp_path / "killed"
    command = ["-m", "tfrecord_tools.convert", *arguments, f"--output_dir={killed}", "--workers=1"]
    kills = 0
    for shards_done in (1, 3, 6, 9):
        process = warm_python.start(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(killed.glob("*.tfrecord"))) < shards_done:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not (killed / "manifest.json").exists() or process.returncode == 0
    assert kills >= 2
    assert run("tfrecord_tools.convert", *parallel, f"--output_dir={killed}").returncode == 0
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")]
    assert contents[0] == contents[1]


@pytest.mark.full
def test_the_whole_pipeline_from_synthetic_patches_to_named_land_cover(tmp_path):
    """The demonstration's commands on a few patches, in a folder of their own."""

    def done(command, *arguments):
        result = run(command, *arguments)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    real = tmp_path / "real"
    assert done("tfrecord_tools.example_patches", f"--output_dir={real}").count("6 patches") == 2
    synthetic = tmp_path / "synthetic"
    done("tfrecord_tools.synthesize", f"--output_dir={synthetic}", "--num_patches=100", "--s1", "--workers=1")
    sources = [f"--s2={synthetic}/BigEarthNet-v1.0", f"--s1={synthetic}/BigEarthNet-S1-v1.0"]
    records = tmp_path / "records"
    printed = done(
        "tfrecord_tools.convert", *sources, f"--lists_dir={synthetic}/lists", f"--output_dir={records}", "--workers=1"
    )
    assert re.search(r"train: \d\d records in 1 shards", printed)
    manifest = json.loads((records / "manifest.json").read_text())
    assert manifest["source"].startswith("synthetic patches")
    assert done("tfrecord_tools.verify", f"--data_dir={records}").startswith("PASS")
    workdir = tmp_path / "run"
    printed = done(
        "experiments.train", "--config=experiments/configs/demo.py", f"--data_dir={records}", f"--workdir={workdir}",
        "--config.epochs=1", "--config.data.bands=MM", "--config.schedule.warmup_steps=0",
        "--config.model_overrides=resolution_px=20",
    )  # fmt: skip
    assert "test micro F1" in printed
    assert "always predicting the" in printed
    done("experiments.export", f"--workdir={workdir}", f"--output_dir={tmp_path / 'model'}")
    printed = done(
        "experiments.predict", f"--model_dir={tmp_path / 'model'}", f"--s2={real}/BigEarthNet-v1.0",
        f"--s1={real}/BigEarthNet-S1-v1.0", f"--output_dir={tmp_path / 'predictions'}",
        "--show=4", "--batch_size=4", "--csv",
    )  # fmt: skip
    assert printed.count("predicted") == printed.count("true ") == 4
    assert "true       Arable land; Pastures" in printed
    assert (tmp_path / "predictions" / "predictions.png").read_bytes().startswith(b"\x89PNG")
    rows = (tmp_path / "predictions" / "predictions.csv").read_text().splitlines()
    assert len(rows) == 7
    assert S2_NAMES[0] not in rows[1]
