"""Exports the best model of a finished run as a SavedModel with a model card.

python -m experiments.export --workdir=runs/demo/train --output_dir=runs/demo/model
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.preconditions import require_writable
from bigearth_tf.serving.exported_model import check_export_folder
from experiments.shared.early_checks import check_run_before_tensorflow

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run of experiments.train.", required=True)
_THRESHOLDS = flags.DEFINE_string(
    "thresholds",
    None,
    "Folder of an evaluation of this run, such as WORKDIR/evaluation/test: the export predicts by the thresholds that "
    "it has tuned on val; default: 0.5.",
)
_CALIBRATE = flags.DEFINE_bool(
    "calibrate", False, "Divide the logits by the temperature that the evaluation of --thresholds has fitted on val."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the SavedModel to write.", required=True)


def main() -> None:
    """Exports the model and prints what was written."""
    output_dir = Path(_OUTPUT_DIR.value)
    check_export_folder(output_dir)
    require_writable(output_dir.absolute().parent)
    check_run_before_tensorflow(_WORKDIR.value)

    from bigearth_tf.serving.export import export_run  # TensorFlow is loaded here: wrong flags must not wait for it.

    folder = export_run(_WORKDIR.value, output_dir, _THRESHOLDS.value, _CALIBRATE.value)
    print(f"wrote {folder}: SavedModel, model_card.json, README.md")


if __name__ == "__main__":
    run_command(main)
