"""The zoo under Keras 3 with JAX, compared with Keras 2.15 with TensorFlow.

Needs the environment that `make keras3` creates, or the path of another's Python in BIGEARTH_KERAS3_PYTHON.
"""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.registry import create_model, list_models
from tests.support.paths import REPOSITORY

SAME_LOGITS = ("wide_resnet_eca_b0", "mlp_mixer_tiny", "mobilenetv3_small", "vit_30", "convnext_tiny")
OF_EACH_KIND = (*SAME_LOGITS, "efficientnet_cbam_ghost", "efficientnet_b0", "k_branch_cnn", "resnet18",
                "lambda_resnet", "wide_resnet_coordinate_ghost")  # fmt: skip
# Only in keras.applications of Keras 2.15.
ABSENT = (*list_models("regnety_*"), *list_models("resnet_rs_*"))


@pytest.fixture(scope="module")
def python():
    python = Path(os.environ.get("BIGEARTH_KERAS3_PYTHON") or REPOSITORY / ".venv-keras3" / "bin" / "python")
    if not python.exists():
        pytest.skip("no environment with Keras 3: run `make keras3`")
    return python


@pytest.fixture(scope="module")
def goldens():
    """(model, form) -> (trainable, total parameters) of Keras 2.15."""
    with (REPOSITORY / "tests" / "goldens" / "parameters.csv").open(newline="", encoding="utf-8") as file:
        return {(row["model"], row["form"]): (int(row["trainable"]), int(row["total"])) for row in csv.DictReader(file)}


def run_in_keras3(python, folder, rows):
    """Returns (name, form) -> what `keras3_zoo.py` reports."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(REPOSITORY),
        # Each program runs once, so optimizing it would take longer than running it.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    command = [python, REPOSITORY / "tests" / "support" / "keras3_zoo.py", folder, *(",".join(row) for row in rows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert len(report) == len(rows)
    return {tuple(row.split(",")): found for row, found in report.items()}


def check(report, goldens, absent=()):
    """Checks the parameter counts and the logits of all models except `absent`, which Keras 3 lacks."""
    assert {name for (name, _), found in report.items() if "error" in found} == set(absent)
    for row, found in report.items():
        if "error" in found:
            assert "has no" in found["error"] and "Keras 2.15" in found["error"], found["error"]
            continue
        assert (found["trainable"], found["total"]) == goldens[row], row
        if "logits" in found:
            assert np.shape(found["logits"]) == (2, 19), row
            assert np.isfinite(found["logits"]).all(), row


def save_weights_and_bands(name, path):
    """Writes the weights and bands of a model to a file and returns its logits; weights of 0 or 1 are changed first."""
    model = create_model(name, num_classes=19)
    rng = np.random.default_rng(0)
    weights = [w + rng.uniform(0, 0.3, w.shape).astype(np.float32) * (w.ndim == 1) for w in model.get_weights()]
    model.set_weights(weights)
    pixels = {b: np.maximum(rng.normal(b.mean, b.std, (2, b.size_px, b.size_px)), 0) for b in get_bands("S2")}
    bands = {band.name: values.astype(band.dtype) for band, values in pixels.items()}
    np.savez(path, **{f"weight{index:04}": weight for index, weight in enumerate(weights)}, **bands)
    return model(bands, training=False).numpy()


@pytest.mark.full
def test_a_member_of_each_kind(python, goldens, tmp_path):
    """Checks the counts and finite logits, and equal logits for equal weights."""
    wanted = {name: save_weights_and_bands(name, tmp_path / f"{name}.npz") for name in SAME_LOGITS}
    report = run_in_keras3(python, tmp_path, [(name, "default") for name in (*OF_EACH_KIND, *ABSENT)])
    check(report, goldens, ABSENT)
    for name, logits in wanted.items():
        assert logits.std() > 0.01, name
        np.testing.assert_allclose(report[name, "default"]["logits"], logits, atol=1e-4, rtol=1e-4, err_msg=name)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_every_other_member(python, goldens, tmp_path):
    others = [name for name in list_models() if name not in (*OF_EACH_KIND, *ABSENT)]
    check(run_in_keras3(python, tmp_path, [(name, "default") for name in others]), goldens)
