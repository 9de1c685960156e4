"""Names the land cover of patch folders with an exported model alone.

    python -m experiments.predict --model_dir=runs/demo/model --s2=BigEarthNet-v1.0 --output_dir=predictions

Prints each patch's classes with their probabilities beside its true labels, and writes `predictions.csv` and a contact
sheet, `predictions.png`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bigearth_tf.labels import NOMENCLATURES, translate
from bigearth_tf.runtime import run_command

if TYPE_CHECKING:
    import numpy as np

    from tfrecord_tools.patch import Patch

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the SavedModel.", required=True)
_S2 = flags.DEFINE_string("s2", None, "Folder or tar of Sentinel-2 patches of BigEarthNet v1.")
_S1 = flags.DEFINE_string("s1", None, "Folder or tar of Sentinel-1 patches, alone or as mates of the others.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for predictions.csv and predictions.png.", required=True)
_LIMIT = flags.DEFINE_integer("limit", 100, "Patches at most, in the order of their names.", lower_bound=1)


def main() -> None:
    """Predicts, as the flags say."""
    if not _S2.value and not _S1.value:
        raise ValueError("Name the patches with --s2, --s1, or both.")
    # TensorFlow, GDAL and matplotlib are loaded here: --help must not wait for them.
    from bigearth_tf.metrics import THRESHOLD
    from bigearth_tf.predict import Predictor
    from experiments.plot_predictions import plot_predictions
    from tfrecord_tools.sources.bigearthnet_v1 import find_patches, read_patch

    predictor = Predictor(_MODEL_DIR.value)
    patches = [read_patch(*folders) for folders in find_patches(_S2.value, _S1.value)[: _LIMIT.value]]
    if not patches:
        raise ValueError(f"No pair of mates in {_S2.value} and {_S1.value}.")
    probabilities = predictor([patch.bands for patch in patches])
    truths = [_true_labels(patch, predictor.class_names) for patch in patches]
    for patch, row, chosen, truth in zip(patches, probabilities, predictor.decide(probabilities), truths):
        print(patch.patch_id)
        named = [(name, p) for name, p, is_chosen in zip(predictor.class_names, row, chosen) if is_chosen]
        said = sorted(named, key=lambda pair: -pair[1])
        print("  predicted  " + ("; ".join(f"{name} {p:.2f}" for name, p in said) or "nothing from 0.5 on"))
        print("  true       " + "; ".join(truth))
    output_dir = Path(_OUTPUT_DIR.value)
    output_dir.mkdir(parents=True, exist_ok=True)
    _write_csv(output_dir / "predictions.csv", patches, probabilities, truths, predictor.class_names)
    threshold = THRESHOLD if predictor.label_kind == "multi" else None
    plot_predictions(output_dir / "predictions.png", patches, probabilities, truths, predictor.class_names, threshold)
    print(f"wrote {output_dir / 'predictions.csv'} and {output_dir / 'predictions.png'}")


def _true_labels(patch: Patch, class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns a patch's labels in the nomenclature of the model."""
    for nomenclature, names in NOMENCLATURES.items():
        if tuple(class_names) == names:
            return translate(patch.labels, nomenclature)
    raise ValueError(
        f"The model's {len(class_names)} classes, {class_names[0]!r} ... {class_names[-1]!r}, are in none of the "
        f"nomenclatures {', '.join(NOMENCLATURES)} in its order; it was not trained on BigEarthNet."
    )


def _write_csv(
    path: Path,
    patches: Sequence[Patch],
    probabilities: np.ndarray,
    truths: Sequence[Sequence[str]],
    class_names: Sequence[str],
) -> None:
    """Writes a row a patch: its name, its true labels, and the probability of each class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patch_id", "true_labels", *class_names])
        for patch, row, truth in zip(patches, probabilities, truths):
            writer.writerow([patch.patch_id, "; ".join(truth), *(f"{p:.6f}" for p in row)])


if __name__ == "__main__":
    run_command(main)
