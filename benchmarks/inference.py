"""Benchmark of inference: patches/s of models, compared with ResNet50.

    python -m benchmarks.inference --models=wide_resnet_eca_b0,vit_20,efficientnet_b0

Measures the models and the baseline in turn: the compiled step with which `experiments.evaluate` scores, from raw
bands to probabilities, on one batch that is already on the device. Neither reading records nor the first call, which
compiles, is measured. Weights are not trained, which does not change the time. Printed are medians of the repeats;
other work on the machine makes them meaningless.
"""

from __future__ import annotations

import statistics

from absl import flags

from benchmarks.inference_rate import images_per_second
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

_MODELS = flags.DEFINE_list("models", ["wide_resnet_eca_b0"], "Names of models to compare with the baseline.")
_BASELINE = flags.DEFINE_string("baseline", "resnet50", "Name of the model that the others are compared with.")
_BANDS = flags.DEFINE_string("bands", "S2", "Bands of the patches, as in --config.data.bands.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Patches of a batch.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Number of measurements of each model.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Minimal duration of a measurement.", lower_bound=0.0)
_NUM_CLASSES = 19


def main() -> None:
    """Runs the benchmark and prints its table."""
    import tensorflow as tf

    from bigearth_tf.data.bands import get_bands
    from bigearth_tf.evaluation.inference import make_predict_step
    from bigearth_tf.models.registry import create_model

    names = list(dict.fromkeys([_BASELINE.value, *_MODELS.value]))
    bands = get_bands(_BANDS.value)
    models = {name: create_model(name, bands=bands, num_classes=_NUM_CLASSES) for name in names}
    steps = {name: make_predict_step(model) for name, model in models.items()}
    size = _BATCH_SIZE.value
    batch = {band.name: tf.zeros([size, band.size_px, band.size_px], band.dtype) for band in bands}
    rates: dict[str, list[float]] = {name: [] for name in names}
    with progress_bar(_REPEATS.value * len(names), "benchmark", "measurement") as progress:
        for _ in range(_REPEATS.value):
            for name in names:
                rates[name].append(images_per_second(steps[name], batch, _SECONDS.value))
                progress.update()
    devices = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    print(f"batches of {size} on {devices[0].name}, median of {_REPEATS.value}")
    print(f"{'patches/s':32} {'median':>8} {'x ' + _BASELINE.value:>12} {'parameters':>12}   all")
    base = statistics.median(rates[_BASELINE.value])
    for name, values in rates.items():
        median = statistics.median(values)
        listed = " ".join(f"{rate:.0f}" for rate in values)
        print(f"{name:32} {median:8.0f} {median / base:12.2f} {models[name].count_params():12,}   {listed}")


if __name__ == "__main__":
    run_command(main)
