"""Builds and runs the zoo in an environment with Keras 3 and JAX, without TensorFlow; started by test_keras3.py.

Usage: KERAS_BACKEND=jax python tests/keras3_zoo.py FOLDER NAME...

Writes FOLDER/report.json: name and form -> what was seen. A name with a FOLDER/<name>.npz gets its weights and bands.
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


def draw_by_numpy() -> None:
    """Lets numpy draw what weights start as: JAX compiles a program for each new shape, which takes minutes in all."""
    rng = np.random.default_rng(0)

    def uniform(key, shape=(), dtype=float, minval=0.0, maxval=1.0):
        return jax.numpy.asarray(rng.uniform(minval, maxval, shape), dtype)

    def normal(key, shape=(), dtype=float):
        return jax.numpy.asarray(rng.standard_normal(shape), dtype)

    def truncated_normal(key, lower, upper, shape=None, dtype=float):
        return jax.numpy.asarray(np.clip(rng.standard_normal(shape), lower, upper), dtype)

    jax.random.uniform, jax.random.normal, jax.random.truncated_normal = uniform, normal, truncated_normal


def random_bands() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = {b: np.maximum(rng.normal(b.mean, b.std, (2, b.size_px, b.size_px)), 0) for b in get_bands("S2")}
    return {band.name: values.astype(band.dtype) for band, values in pixels.items()}


def count(weights) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def look_at(name: str, form: str, folder: Path) -> dict:
    """Returns the counts of a model and the logits that it gives, or the error."""
    keras.utils.clear_session(free_memory=False)
    try:
        overrides = reference_overrides(name) if form == "published" else {}
        model = create_model(name, num_classes=NUM_CLASSES, **overrides)
    except ValueError as error:
        return {"error": str(error)}
    seen = {"trainable": count(model.trainable_weights), "total": count(model.weights)}
    if form == "published":
        return seen
    bands, given = random_bands(), folder / f"{name}.npz"
    if given.exists():
        with np.load(given) as arrays:
            model.set_weights([arrays[key] for key in sorted(arrays) if key.startswith("weight")])
            bands = {key: arrays[key] for key in bands}
    return {**seen, "logits": model.predict_on_batch(bands).tolist()}


def main(folder: str, *rows: str) -> None:
    assert importlib.util.find_spec("tensorflow") is None, "TensorFlow is installed beside Keras 3"
    assert keras.backend.backend() == "jax", keras.backend.backend()
    draw_by_numpy()
    report = {row: look_at(*row.split(","), Path(folder)) for row in rows}
    (Path(folder) / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
