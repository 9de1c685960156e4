"""`pip install .` installs the whole library, which works away from the checkout."""

import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY

SCRIPT = """
import pathlib, sys
import bigearth_tf, tfrecord_tools, experiments
installed = pathlib.Path(sys.argv[1])
for package in (bigearth_tf, tfrecord_tools, experiments):
    assert installed in pathlib.Path(package.__file__).parents, package.__file__
from bigearth_tf.data.datasets import list_datasets
from bigearth_tf.models import create_model, list_models
from tfrecord_tools.sources import list_sources
print(len(list_models()), len(list_datasets()), len(list_sources()))
model = create_model("wide_resnet_eca_b0", num_classes=3, resolution_px=20, width=0.5)
print(model.output_shape)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip has installed the project without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source") / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{REPOSITORY}", str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", f"--target={folder}", str(source)], check=True)
    return folder


def modules_below(root):
    return {
        path.relative_to(root).as_posix()
        for package in ("bigearth_tf", "tfrecord_tools", "experiments")
        for path in (root / package).rglob("*.py")
    }


def test_every_module_is_installed(installed):
    committed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    )
    expected = {
        name
        for name in committed.stdout.splitlines()
        if name.endswith(".py") and name.split("/")[0] in ("bigearth_tf", "tfrecord_tools", "experiments")
    }
    assert modules_below(installed) == expected
    assert not (installed / "tests").exists()


def test_the_installed_library_works(installed, tmp_path):
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(installed)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines()[-2:] == ["76 4 5", "(None, 3)"]
