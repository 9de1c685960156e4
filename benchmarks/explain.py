"""Benchmark of explanations: do attribution maps find the pixels that carry a class?

    python -m benchmarks.explain --models=wide_resnet_eca_b0,vit_20,mlp_mixer

Trains each model on synthetic patches, for which the generator knows the pixels of each class, and explains each class
that a test patch has and the model predicts. Printed for each method are the part of the positive attribution that lies
on the pixels of the class (mass), the part of the pixels that they are (chance), the ratio of the two, and the
probability that such a pixel ranks higher than another (AUROC, 0.5 is chance); each is a mean over patches and classes.
The same figures of a copy with shuffled weights say what a map finds without a trained model, and the rank correlation
with its map how much the map depends on the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

if TYPE_CHECKING:
    import keras
    import numpy as np

    from bigearth_tf.explain import Explainer

_MODELS = flags.DEFINE_list("models", ["wide_resnet_eca_b0", "vit_20", "mlp_mixer"], "Names of the models.")
_NUM_TRAIN = flags.DEFINE_integer("num_train", 600, "Synthetic patches to train on.", lower_bound=1)
_NUM_TEST = flags.DEFINE_integer(
    "num_test", 60, "Other synthetic patches, on which the model is scored.", lower_bound=1
)
_NUM_MAPS = flags.DEFINE_integer("num_maps", 40, "Pairs of a test patch and a class to explain.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 20, "Epochs of training.", lower_bound=1)
_BANDS = flags.DEFINE_string("bands", "S2", "Bands of the patches, as in --config.data.bands.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the patches and of the training.")
_BATCH_SIZE = 32
# A smaller class has too few pixels for a map of 6 px, a larger one leaves nothing outside.
_LEAST_SHARE, _LARGEST_SHARE = 0.05, 0.8


class _Patches(NamedTuple):
    """N patches: `bands` [N, h, w] each, `labels` multi-hot [N, K], and where each class is: index -> [120, 120]."""

    bands: dict[str, np.ndarray]
    labels: np.ndarray
    places: list[dict[int, np.ndarray]]


def main() -> None:
    """Runs the benchmark and prints a table for each model."""
    import keras

    from bigearth_tf.data.bands import get_bands
    from bigearth_tf.data.label_kind import LabelKind
    from bigearth_tf.data.labels import CLASSES_19
    from bigearth_tf.explain import Explainer
    from bigearth_tf.models.registry import create_model
    from bigearth_tf.serving.model_inputs import ModelInputs

    bands = get_bands(_BANDS.value)
    numbers = _list_clear_patches()
    with progress_bar(_NUM_TRAIN.value + _NUM_TEST.value, "create patches", "patch") as bar:
        train, test = (
            _create_patches([next(numbers) for _ in range(count)], [band.name for band in bands], bar.update)
            for count in (_NUM_TRAIN.value, _NUM_TEST.value)
        )
    print(f"{_NUM_TRAIN.value} synthetic patches to train on, {_NUM_TEST.value} to test on, bands {_BANDS.value}")
    for name in _MODELS.value:
        keras.utils.set_random_seed(_SEED.value)
        model = create_model(name, bands=bands, num_classes=len(CLASSES_19))
        started = time.monotonic()
        _train(model, train)
        inputs = ModelInputs(bands, CLASSES_19, LabelKind.MULTI, dataset="bigearthnet_v1", level="L2A")
        print(f"\n{name}, trained in {time.monotonic() - started:.0f} s", end="")
        _report(Explainer.from_model(model, inputs), test)


def _list_clear_patches() -> Iterator[int]:
    """Yields the numbers of synthetic patches without snow and clouds, which hide the land, and with labels."""
    from tfrecord_tools.synthetic.synthetic_patches import draw_group, place_patch

    number = 0
    while True:
        if draw_group(_SEED.value, number, place_patch(_SEED.value, number).season) in ("train", "val", "test"):
            yield number
        number += 1


def _create_patches(numbers: list[int], names: list[str], report: Callable[[], object]) -> _Patches:
    import numpy as np

    from bigearth_tf.data.labels import CLASSES_19, to_19_classes
    from tfrecord_tools.synthetic.synthetic_patches import create_patch, locate_labels

    pixels: dict[str, list[np.ndarray]] = {name: [] for name in names}
    labels, places = np.zeros((len(numbers), len(CLASSES_19)), np.float32), []
    for row, number in enumerate(numbers):
        patch = create_patch(_SEED.value, number)
        for name, arrays in pixels.items():
            arrays.append(patch.bands[name])
        place: dict[int, np.ndarray] = {}
        for label, mask in locate_labels(_SEED.value, number).items():
            for class_name in to_19_classes([label]):
                index = CLASSES_19.index(class_name)
                place[index] = place.get(index, np.zeros_like(mask)) | mask
        labels[row, list(place)] = 1
        places.append(place)
        report()
    return _Patches({name: np.stack(arrays) for name, arrays in pixels.items()}, labels, places)


def _train(model: keras.Model, patches: _Patches) -> None:
    """Trains with Adam and a cosine decay, with flips and turns, which the synthetic land does not depend on."""
    import keras
    import numpy as np

    steps = len(patches.labels) // _BATCH_SIZE
    peak = 3e-3 if "resnet" in model.name else 1e-3
    schedule = keras.optimizers.schedules.CosineDecay(peak, steps * _EPOCHS.value)
    model.compile(keras.optimizers.Adam(schedule), keras.losses.BinaryCrossentropy(from_logits=True))
    rng = np.random.default_rng(_SEED.value)
    with progress_bar(_EPOCHS.value, f"train {model.name}", "epoch") as bar:
        for _ in range(_EPOCHS.value):
            for rows in rng.permutation(len(patches.labels))[: steps * _BATCH_SIZE].reshape(steps, _BATCH_SIZE):
                turns, mirror = int(rng.integers(4)), 1 - 2 * int(rng.integers(2))
                batch = {
                    name: np.rot90(pixels[rows], turns, (1, 2))[:, :, ::mirror]
                    for name, pixels in patches.bands.items()
                }
                model.train_on_batch({name: array.copy() for name, array in batch.items()}, patches.labels[rows])
            bar.update()


def _report(explainer: Explainer, patches: _Patches) -> None:
    import numpy as np

    from bigearth_tf.evaluation.metrics import compute_scores
    from bigearth_tf.explain.localization import localize
    from bigearth_tf.explain.sanity import compare_maps

    logits = explainer.score(patches.bands)
    score = compute_scores(patches.labels, 1 / (1 + np.exp(-logits)))["micro_f1"]
    cases = [
        (row, index, inside)
        for row, place in enumerate(patches.places)
        for index, inside in place.items()
        if logits[row, index] > 0 and _LEAST_SHARE <= inside.mean() <= _LARGEST_SHARE
    ][: _NUM_MAPS.value]
    print(f": micro F1 {score:.3f} on the test patches, {len(cases)} pairs of a patch and a class")
    if not cases:
        return
    shuffled = explainer.randomize(_SEED.value)
    print(
        f"{'':22}{'mass':>7}{'chance':>8}{'ratio':>7}{'AUROC':>7}   {'shuffled: ratio':>16}{'AUROC':>7}"
        f"{'correlation':>13}{'s a map':>9}"
    )
    with progress_bar(len(cases) * len(explainer.methods), "explain", "map") as bar:
        for method in explainer.methods:
            found, others, correlations, seconds = [], [], [], 0.0
            for row, index, inside in cases:
                bands = {name: pixels[row] for name, pixels in patches.bands.items()}
                name = explainer.inputs.class_names[index]
                started = time.monotonic()
                values = explainer.explain(bands, name, method).values
                seconds += time.monotonic() - started
                other = shuffled.explain(bands, name, method).values
                found.append(localize(values, inside))
                others.append(localize(other, inside))
                correlations.append(compare_maps(values, other).rank)
                bar.update()
            mass, chance, auroc = np.mean(found, axis=0)
            other_mass, _, other_auroc = np.mean(others, axis=0)
            print(
                f"{method:22}{mass:7.3f}{chance:8.3f}{mass / chance:7.2f}{auroc:7.3f}   {other_mass / chance:16.2f}"
                f"{other_auroc:7.3f}{np.mean(correlations):+13.2f}{seconds / len(cases):9.2f}"
            )


if __name__ == "__main__":
    run_command(main)
