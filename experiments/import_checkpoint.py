"""Converts a checkpoint of the published benchmark to a finished run and a SavedModel with a model card.

    python -m experiments.import_checkpoint --checkpoint=checkpoint_WideResNet.zip --output=runs/published/wide_resnet

Takes the zip as it was published, its unpacked folder, or the prefix of its files. The shapes of the weights determine
the model, not the name of the file. `--output` becomes the work folder of a finished run, OUTPUT/saved_model its model.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.checkpoint_import.early_checks import check_checkpoint_exists, check_output_dir
from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.preconditions import require_writable

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Zip, folder, or prefix of a checkpoint.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write; replaces an earlier import.", required=True)
_RESOLUTION_PX = flags.DEFINE_integer(
    "resolution_px",
    None,
    "Side of the model's input image; required for scaled models, whose weights do not show it.",
    lower_bound=32,
)


def main() -> None:
    """Imports the checkpoint and prints which model it is."""
    output = Path(_OUTPUT.value)
    check_checkpoint_exists(Path(_CHECKPOINT.value))
    check_output_dir(output)
    require_writable(output.absolute().parent)

    from bigearth_tf.checkpoint_import.importing import (  # --help and wrong flags must not wait for TensorFlow.
        SAVED_MODEL_NAME,
        import_checkpoint,
    )

    origin = import_checkpoint(_CHECKPOINT.value, _OUTPUT.value, resolution_px=_RESOLUTION_PX.value)
    print(f"{origin.file}: {origin.published_name or 'a model that was not published'}, {origin.checkpoint}")
    print(f"recognized as {origin.recognised}")
    print(f"wrote {_OUTPUT.value}: config.json, result.json, checkpoints, {SAVED_MODEL_NAME}")


if __name__ == "__main__":
    run_command(main)
