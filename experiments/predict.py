"""Predicts the land cover of patch folders with only an exported model.

    python -m experiments.predict --model_dir=runs/demo/model --s2=BigEarthNet-v1.0 --output_dir=predictions

Writes the true labels and the probabilities of every patch to `predictions.csv`, prints the classes of the first
patches, and shows these patches in `predictions.png`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bigearth_tf.data.labels import NOMENCLATURES, translate
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np

    from tfrecord_tools.source import Patch

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the SavedModel.", required=True)
_S2 = flags.DEFINE_string("s2", None, "Folder or tar of Sentinel-2 patches of BigEarthNet v1.")
_S1 = flags.DEFINE_string("s1", None, "Folder or tar of Sentinel-1 patches, alone or as pairs with --s2.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for predictions.csv and predictions.png.", required=True)
_SHOW = flags.DEFINE_integer(
    "show", 24, "Number of patches to print and to plot, the first by name.", lower_bound=1, upper_bound=300
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 64, "Number of patches that are read and predicted at a time.", lower_bound=1
)


def main() -> None:
    """Predicts all patches, then writes, prints and plots the results."""
    if not _S2.value and not _S1.value:
        raise ValueError("Name the patches with --s2, --s1, or both.")
    # TensorFlow, GDAL and matplotlib are loaded here: --help must not wait for them.
    import numpy as np

    from bigearth_tf.runtime.files import write_text_atomically
    from bigearth_tf.serving.predictor import Predictor
    from experiments.shared.plot_predictions import plot_predictions
    from tfrecord_tools.sources.bigearthnet_v1 import find_patches, read_patch

    predictor = Predictor(_MODEL_DIR.value)
    found = find_patches(_S2.value, _S1.value)
    if not found:
        raise ValueError(f"No pair of Sentinel-2 and Sentinel-1 patches in {_S2.value} and {_S1.value}.")
    # Before the prediction, which may take long: a folder that cannot be created must fail at once.
    table, picture = (Path(_OUTPUT_DIR.value) / name for name in ("predictions.csv", "predictions.png"))
    table.parent.mkdir(parents=True, exist_ok=True)
    rows, patch_ids, truths = [], [], []
    shown: list[Patch] = []
    with progress_bar(len(found), "predict", "patch") as bar:
        for first in range(0, len(found), _BATCH_SIZE.value):
            patches = [read_patch(*folders) for folders in found[first : first + _BATCH_SIZE.value]]
            rows.append(predictor([patch.bands for patch in patches]))
            patch_ids += [patch.patch_id for patch in patches]
            truths += [_true_labels(patch, predictor.class_names) for patch in patches]
            shown += patches[: _SHOW.value - len(shown)]
            bar.update(len(patches))
    probabilities = np.concatenate(rows)
    for patch, row, chosen, truth in zip(shown, probabilities, predictor.decide(probabilities), truths):
        named = [(name, p) for name, p, is_chosen in zip(predictor.class_names, row, chosen) if is_chosen]
        ranked = "; ".join(f"{name} {p:.2f}" for name, p in sorted(named, key=lambda pair: -pair[1]))
        print(patch.patch_id)
        print(f"  predicted  {ranked or 'no class has a probability of 0.5 or more'}")
        print("  true       " + "; ".join(truth))
    write_text_atomically(table, _csv(patch_ids, probabilities, truths, predictor.class_names))
    plot_predictions(picture, shown, probabilities, truths, predictor.class_names, predictor.label_kind.threshold)
    print(f"wrote {table}: {len(patch_ids)} patches; {picture}: {len(shown)} of them")


def _true_labels(patch: Patch, class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns the labels of a patch in the nomenclature of the model."""
    for nomenclature, names in NOMENCLATURES.items():
        if tuple(class_names) == names:
            return translate(patch.labels, nomenclature)
    raise ValueError(
        f"The model's {len(class_names)} classes, {class_names[0]!r} ... {class_names[-1]!r}, match none of the "
        f"nomenclatures {', '.join(NOMENCLATURES)} in their order; it was not trained on BigEarthNet."
    )


def _csv(
    patch_ids: Sequence[str], probabilities: np.ndarray, truths: Sequence[Sequence[str]], class_names: Sequence[str]
) -> str:
    """Returns CSV with a row for each patch: its name, its true labels, and the probability of each class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["patch_id", "true_labels", *class_names])
    for patch_id, row, truth in zip(patch_ids, probabilities, truths):
        writer.writerow([patch_id, "; ".join(truth), *(f"{p:.6f}" for p in row)])
    return text.getvalue()


if __name__ == "__main__":
    run_command(main)
