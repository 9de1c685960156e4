"""Is the zoo under Keras 3 with JAX what it is under Keras 2.15 with TensorFlow?

Needs the environment that `make keras3` makes, or another whose Python BIGEARTH_KERAS3_PYTHON names.
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
# In keras.applications of Keras 2.15 alone.
ABSENT = (*list_models("regnety_*"), *list_models("resnet_rs_*"))


@pytest.fixture(scope="module")
def python():
    python = Path(os.environ.get("BIGEARTH_KERAS3_PYTHON") or REPOSITORY / ".venv-keras3" / "bin" / "python")
    if not python.exists():
        pytest.skip("no environment with Keras 3: `make keras3` makes it")
    return python


@pytest.fixture(scope="module")
def goldens():
    """(model, form) -> (trainable, total parameters), as Keras 2.15 has them."""
    with (REPOSITORY / "tests" / "goldens" / "parameters.csv").open(newline="", encoding="utf-8") as file:
        return {(row["model"], row["form"]): (int(row["trainable"]), int(row["total"])) for row in csv.DictReader(file)}


def look_at(python, folder, rows):
    """Returns (name, form) -> what `keras3_zoo.py` saw of it."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(REPOSITORY),
        # Programs that run once: compiling them well takes longer than running them badly.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    command = [python, REPOSITORY / "tests" / "keras3_zoo.py", folder, *(",".join(row) for row in rows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert len(report) == len(rows)
    return {tuple(row.split(",")): seen for row, seen in report.items()}


def check(report, goldens, absent=()):
    """Checks that all of it is there, but for what Keras 3 lacks, as large as under Keras 2.15, and gives logits."""
    assert {name: seen["error"] for (name, _), seen in report.items() if "error" in seen}.keys() == set(absent)
    for row, seen in report.items():
        if "error" in seen:
            assert "has no" in seen["error"] and "Keras 2.15" in seen["error"], seen["error"]
            continue
        assert (seen["trainable"], seen["total"]) == goldens[row], row
        if "logits" in seen:
            assert np.shape(seen["logits"]) == (2, 19), row
            assert np.isfinite(seen["logits"]).all(), row


def save_weights_and_bands(name, path):
    """Returns the logits of a model whose weights and bands go to a file; what starts at 0 or 1 is moved from there."""
    model = create_model(name, num_classes=19)
    rng = np.random.default_rng(0)
    weights = [w + rng.uniform(0, 0.3, w.shape).astype(np.float32) * (w.ndim == 1) for w in model.get_weights()]
    model.set_weights(weights)
    pixels = {b: np.maximum(rng.normal(b.mean, b.std, (2, b.size_px, b.size_px)), 0) for b in get_bands("S2")}
    bands = {band.name: values.astype(band.dtype) for band, values in pixels.items()}
    np.savez(path, **{f"weight{index:04}": weight for index, weight in enumerate(weights)}, **bands)
    return model(bands, training=False).numpy()


def test_a_member_of_each_kind(python, goldens, tmp_path):
    """The same counts, finite logits; with the same weights, the same logits."""
    wanted = {name: save_weights_and_bands(name, tmp_path / f"{name}.npz") for name in SAME_LOGITS}
    report = look_at(python, tmp_path, [(name, "default") for name in (*OF_EACH_KIND, *ABSENT)])
    check(report, goldens, ABSENT)
    for name, logits in wanted.items():
        assert logits.std() > 0.01, name
        np.testing.assert_allclose(report[name, "default"]["logits"], logits, atol=1e-4, rtol=1e-4, err_msg=name)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_every_other_member(python, goldens, tmp_path):
    others = [name for name in list_models() if name not in (*OF_EACH_KIND, *ABSENT)]
    check(look_at(python, tmp_path, [(name, "default") for name in others]), goldens)
