"""How many patches a second does a trained model label, beside ResNet50?

    python -m benchmarks.inference --models=wide_resnet_eca_b0,vit_20,efficientnet_b0

Measures each model in turn with the baseline: the compiled step by which `experiments.evaluate` scores, raw bands in,
probabilities out, on one batch that is on the device already. So it is the network that is measured, and neither the
reading of records nor the first call, which compiles. Weights are not trained: they do not change the time.
Medians of the repeats; other work on the machine makes them meaningless.
"""

from __future__ import annotations

import statistics

from absl import flags

from benchmarks.inference_rate import images_per_second
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

_MODELS = flags.DEFINE_list("models", ["wide_resnet_eca_b0"], "Names of the zoo, beside the baseline.")
_BASELINE = flags.DEFINE_string("baseline", "resnet50", "Name of the zoo that the others are compared with.")
_BANDS = flags.DEFINE_string("bands", "S2", "Bands of the patches, as --config.data.bands of a training.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Patches that are labelled at once.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "How often each model is measured.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Of a measurement, at least.", lower_bound=0.0)
_NUM_CLASSES = 19


def main() -> None:
    """Measures, as the flags say."""
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
