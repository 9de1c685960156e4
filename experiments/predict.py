"""Predicts the land cover of patch folders with only an exported model.

    python -m experiments.predict --model_dir=runs/demo/model --s2=BigEarthNet-v1.0 --output_dir=predictions

Writes the table of true labels, probabilities and decisions to `predictions.csv` and `predictions.parquet`, prints the
classes of the first patches, and shows these patches in `predictions.png` and `predictions.pdf`.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the SavedModel.", required=True)
_S2 = flags.DEFINE_string("s2", None, "Folder or tar of Sentinel-2 patches of BigEarthNet v1.")
_S1 = flags.DEFINE_string("s1", None, "Folder or tar of Sentinel-1 patches, alone or as pairs with --s2.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for the predictions.", required=True)
_SHOW = flags.DEFINE_integer(
    "show", 24, "Number of patches to print and to plot, the first by name.", lower_bound=1, upper_bound=300
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 64, "Number of patches that are read and predicted at a time.", lower_bound=1
)


def main() -> None:
    """Predicts all patches, then writes, prints and plots the results."""
    from bigearth_tf.runtime.preconditions import require_packages, require_writable
    from bigearth_tf.serving.exported_model import read_card
    from experiments.shared.prediction_inputs import check_model_takes

    # Before TensorFlow is loaded, and before the prediction, which may take long.
    if not _S2.value and not _S1.value:
        raise ValueError("Name the patches with --s2, --s1, or both.")
    output = Path(_OUTPUT_DIR.value)
    require_packages("osgeo", "tensorflow")
    require_writable(output)
    card = read_card(_MODEL_DIR.value)
    check_model_takes(card, s2=bool(_S2.value), s1=bool(_S1.value))

    from bigearth_tf.evaluation.prediction_table import format_csv, write_predictions
    from bigearth_tf.runtime.files import write_text_atomically
    from experiments.shared.plot_predictions import plot_predictions
    from experiments.shared.predict_patches import format_first, predict_patches
    from tfrecord_tools.sources.bigearthnet_v1 import find_patches

    folders = find_patches(_S2.value, _S1.value)
    if not folders:
        raise ValueError(f"No pair of Sentinel-2 and Sentinel-1 patches in {_S2.value} and {_S1.value}.")

    from bigearth_tf.serving.predictor import Predictor

    found = predict_patches(Predictor(_MODEL_DIR.value), folders, _BATCH_SIZE.value, _SHOW.value)
    print(format_first(found))
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(output / "predictions.csv", format_csv(found.predictions))
    write_predictions(found.predictions, output / "predictions.parquet")
    pictures = plot_predictions(output / "predictions", found, title=f"{card['model']} from {_MODEL_DIR.value}")
    print(
        f"wrote {output}: predictions.csv and predictions.parquet with {len(folders)} patches; "
        f"{' and '.join(path.name for path in pictures)} with {len(found.first)} of them"
    )


if __name__ == "__main__":
    run_command(main)
