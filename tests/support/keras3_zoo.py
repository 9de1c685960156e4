"""Builds and runs the zoo in an environment with Keras 3 and JAX, without TensorFlow; started by test_keras3.py.

Usage: KERAS_BACKEND=jax python tests/support/keras3_zoo.py FOLDER NAME,FORM...

Writes FOLDER/report.json: "NAME,FORM" -> counts and logits, or the error. The weights and bands of FOLDER/NAME.npz are
used if it exists.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import jax
import keras
import numpy as np

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.registry import create_model, reference_overrides

NUM_CLASSES = 19


def draw_with_numpy() -> None:
    """Lets NumPy draw initial weights: JAX would compile a program for each new shape, which takes minutes in total."""
    rng = np.random.default_rng(0)

    def uniform(key, shape=(), dtype=float, minval=0.0, maxval=1.0):
        return jax.numpy.asarray(rng.uniform(minval, maxval, shape), dtype)

    def normal(key, shape=(), dtype=float):
        return jax.numpy.asarray(rng.standard_normal(shape), dtype)

    def truncated_normal(key, lower, upper, shape=None, dtype=float):
        return jax.numpy.asarray(np.clip(rng.standard_normal(shape), lower, upper), dtype)

    jax.random.uniform, jax.random.normal, jax.random.truncated_normal = uniform, normal, truncated_normal


def make_bands() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = {b: np.maximum(rng.normal(b.mean, b.std, (2, b.size_px, b.size_px)), 0) for b in get_bands("S2")}
    return {band.name: values.astype(band.dtype) for band, values in pixels.items()}


def count(weights) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def build_and_run(name: str, form: str, folder: Path) -> dict:
    """Returns the parameter counts and the logits of a model, or the error."""
    keras.utils.clear_session(free_memory=False)
    try:
        overrides = reference_overrides(name) if form == "published" else {}
        model = create_model(name, num_classes=NUM_CLASSES, **overrides)
    except ValueError as error:
        return {"error": str(error)}
    found = {"trainable": count(model.trainable_weights), "total": count(model.weights)}
    if form == "published":
        return found
    bands, path = make_bands(), folder / f"{name}.npz"
    if path.exists():
        with np.load(path) as arrays:
            model.set_weights([arrays[key] for key in sorted(arrays) if key.startswith("weight")])
            bands = {key: arrays[key] for key in bands}
    return {**found, "logits": model.predict_on_batch(bands).tolist()}


def main(folder: str, *rows: str) -> None:
    assert importlib.util.find_spec("tensorflow") is None, "TensorFlow is installed together with Keras 3"
    assert keras.backend.backend() == "jax", keras.backend.backend()
    draw_with_numpy()
    report = {row: build_and_run(*row.split(","), Path(folder)) for row in rows}
    (Path(folder) / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
