"""Predicts the land cover of patch folders with only an exported model.

    python -m experiments.predict --model_dir=runs/demo/model --s2=BigEarthNet-v1.0 --output_dir=predictions

Writes the true labels and the probabilities of every patch to `predictions.csv`, prints the classes of the first
patches, and shows these patches in `predictions.png`.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command

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
    from bigearth_tf.runtime.files import write_text_atomically
    from bigearth_tf.serving.predictor import Predictor
    from experiments.shared.plot_predictions import plot_predictions
    from experiments.shared.predict_patches import format_csv, format_first, predict_patches
    from tfrecord_tools.sources.bigearthnet_v1 import find_patches

    predictor = Predictor(_MODEL_DIR.value)
    folders = find_patches(_S2.value, _S1.value)
    if not folders:
        raise ValueError(f"No pair of Sentinel-2 and Sentinel-1 patches in {_S2.value} and {_S1.value}.")
    # Before the prediction, which may take long: a folder that cannot be created must fail at once.
    table, picture = (Path(_OUTPUT_DIR.value) / name for name in ("predictions.csv", "predictions.png"))
    table.parent.mkdir(parents=True, exist_ok=True)
    found = predict_patches(predictor, folders, _BATCH_SIZE.value, _SHOW.value)
    print(format_first(found, predictor.label_kind))
    write_text_atomically(table, format_csv(found))
    columns = (found.first, found.probabilities, found.true_labels, found.class_names)
    plot_predictions(picture, *columns, predictor.label_kind.threshold)
    print(f"wrote {table}: {len(found.patch_ids)} patches; {picture}: {len(found.first)} of them")


if __name__ == "__main__":
    run_command(main)
