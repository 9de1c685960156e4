"""Tests that the batch scripts run their commands, wherever SLURM copies them, and that the examples fit them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SLURM = Path(__file__).parents[2] / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
SITES = [SLURM / "env.sh", *sorted((SLURM / "examples").glob("*.sh"))]


def full(*parameters):
    return pytest.param(*parameters, marks=pytest.mark.full)


def names(path):
    return path.name


def run(script, *arguments, cwd, **variables):
    """Runs a script as SLURM does: a copy of it elsewhere, with the variables of a job."""
    copied = shutil.copy(script, cwd / "slurm_script")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "BIGEARTH_", "HOROVOD_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = {"SLURM_JOB_NAME": script.stem, "SLURM_JOB_ID": "7", "BIGEARTH_SCRATCH": ""}
    return subprocess.run(
        ["bash", copied, *arguments], cwd=cwd, env={**kept, **job, "PATH": path, **variables},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize("path", [*SCRIPTS, *SITES, SLURM / "examples" / "in_image" / "srun"], ids=names)
def test_bash_can_read_it(path):
    subprocess.run(["bash", "-n", path], check=True)


def test_every_step_has_a_script():
    assert {path.stem for path in SCRIPTS} == {"convert", "finalize", "train", "zoo", "evaluate", "export"}


@pytest.mark.parametrize("path", SCRIPTS, ids=names)
def test_a_script_holds_resources_and_one_command(path):
    lines = path.read_text().splitlines()
    options = " ".join(line for line in lines if line.startswith("#SBATCH"))
    assert f"--job-name={path.stem}" in options
    assert "--output=" in options
    assert "--open-mode=append" in options, "the output from before the job was queued again would be lost"
    assert not re.search(r"--(partition|account|qos|mail-user|gres|gpus)", options), "the site or the user sets these"
    first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    assert lines[first] == "set -euo pipefail"
    assert not any(line.startswith("#SBATCH") for line in lines[first:]), "SLURM ignores options below a command"
    # Bash passes no signal to a running command: the last command must replace Bash.
    body = "\n".join(lines[first:]).replace("\\\n", " ")
    assert body.splitlines()[-1].startswith('exec "${PYTHON[@]}" -m ')
    assert body.endswith('"$@"')
    saves = {"train", "zoo"}
    assert ("--signal=B:USR1@" in options) == (path.stem in saves)


@pytest.mark.parametrize("path", SCRIPTS, ids=names)
def test_a_script_finds_the_repository_or_says_what_to_do(path, tmp_path):
    result = run(path, cwd=tmp_path, SLURM_SUBMIT_DIR=str(tmp_path))
    assert result.returncode == 78
    assert result.stderr.startswith(f"error: {tmp_path}/slurm/env.sh: missing. Submit from the repository's folder")
    result = run(path, cwd=tmp_path)
    assert result.returncode == 1
    assert "this is a batch script, start it with sbatch" in result.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("finalize", ["--output_dir=nowhere"], "error: nowhere"),
        full("convert", ["--output_dir=x", "--s2=nowhere"], "error: nowhere: no such folder or tar"),
        full("export", ["--workdir=nowhere", "--output_dir=x"], "error: nowhere/config.json: missing"),
        full("zoo", ["--models=resnet*", "--list"], "   4  resnet152"),
        full("evaluate", ["--workdir=nowhere", "--data_dir=nowhere"], "error: nowhere/manifest.json"),
        ("train", ["--config=CONFIGS/demo.py", "--workdir=x", "--data_dir=nowhere"], "error: nowhere/manifest.json"),
    ],
)
def test_a_script_runs_its_command(script, arguments, message, tmp_path):
    """On this host, without srun; the launcher and the command are the same."""
    arguments = [argument.replace("CONFIGS", str(SLURM.parent / "experiments" / "configs")) for argument in arguments]
    result = run(
        SLURM / f"{script}.sbatch", *arguments, cwd=tmp_path, BIGEARTH_HOME=str(SLURM.parent),
        BIGEARTH_LAUNCH="--ranks=1",
    )  # fmt: skip
    output = result.stdout + result.stderr
    assert message in output, output
    assert (result.returncode == 0) == ("error" not in message)
    launched = script in ("train", "zoo", "evaluate")
    assert (tmp_path / "runs" / f"{script}-7" / "rank-0.log").exists() == launched


@pytest.fixture(params=SITES, ids=names)
def site(request, tmp_path):
    """Returns the name of each example, and a repository with it as env.sh and with what its site would have."""
    home = tmp_path / "repository"
    (home / "slurm").mkdir(parents=True)
    shutil.copy(request.param, home / "slurm" / "env.sh")
    for folder in (home / ".venv", tmp_path / "bigearth"):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "activate").write_text("activated=yes\n")
    return request.param.name, home


def test_a_site_sets_what_the_scripts_read(site, tmp_path):
    name, home = site
    show = 'set -euo pipefail; module() { :; }; . "$1"; printf "%s\\n" "$BIGEARTH_HOME" "$PYTHONPATH" '
    show += '"-$BIGEARTH_SCRATCH" "${PYTHON[-1]}" "${#LAUNCH[@]}"'
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "me"}
    result = subprocess.run(
        ["bash", "-c", show, "bash", home / "slurm" / "env.sh"], env=environ, capture_output=True, text=True, cwd="/"
    )
    assert not result.stderr
    shown_home, python_path, scratch, python, num_options = result.stdout.splitlines()
    assert shown_home == python_path == str(home)
    assert scratch == ("-/scr/me" if name == "env_venv.sh" else "-")
    assert python in ("python", "python3")
    assert num_options == "0"


@pytest.mark.parametrize("own", [None, "", "/mine"])
def test_the_scratch_of_a_job_is_set_by_its_node_or_by_the_user(site, own, tmp_path):
    """env.sh is read on the login node before `sbatch`, and in the job, which gets what the login node exports."""
    name, home = site
    script = 'set -euo pipefail; module() { :; }; . "$1"; printf "%s|%s\\n" "$BIGEARTH_SCRATCH" "${APPTAINER_BIND:-}"; '
    in_job = 'SLURM_TMPDIR=/node exec bash -c "$2" bash "$1"'
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "me"}
    result = subprocess.run(
        ["bash", "-c", script + in_job, "bash", home / "slurm" / "env.sh", script], capture_output=True, text=True,
        env=environ if own is None else {**environ, "BIGEARTH_SCRATCH": own},
    )  # fmt: skip
    assert not result.stderr
    scratch, bound = result.stdout.splitlines()[1].split("|")
    assert scratch == (own if own is not None else "/scr/me" if name == "env_venv.sh" else "/node")
    if name == "env_apptainer.sh":
        assert bound == ",".join(filter(None, [str(home), "/etc/slurm", "/run/munge", scratch]))


def test_the_environment_of_make_setup_comes_before_others(tmp_path):
    home = tmp_path / "repository"
    (home / "slurm").mkdir(parents=True)
    shutil.copy(SLURM / "env.sh", home / "slurm")
    own = home / ".venv" / "bin" / "python"
    show = ["bash", "-euc", '. "$1"; command -v "${PYTHON[@]}"', "bash", home / "slurm" / "env.sh"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for expected in (shutil.which("python", path=path), str(own)):
        result = subprocess.run(show, env={"PATH": path}, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == expected
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("#!/bin/sh\n")
        own.chmod(0o755)
