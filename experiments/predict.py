"""Predicts the land cover of patches with only an exported model.

    python -m experiments.predict --model_dir=runs/demo/model --input=chips --output_dir=predictions

--input is a folder of records (--split), a folder or tar of patches with a file for each band, a folder or pattern of
GeoTIFFs with several bands, or a CSV or Parquet table of paths; with --source, a data set in its published layout.
Writes a row for each patch to `predictions.parquet`, and the inputs that cannot be predicted to `problems.csv`; prints
the classes of the first patches, and shows these patches in `predictions.png`. After an interruption, the same command
resumes.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.serving.units import LEVELS
from tfrecord_tools.sources import list_sources

if TYPE_CHECKING:
    from bigearth_tf.serving.model_inputs import ModelInputs
    from bigearth_tf.serving.patch_inputs import PatchInputs
    from bigearth_tf.serving.prediction_folder import PredictionResult
    from bigearth_tf.serving.predictor import Predictor
    from experiments.shared.inputs.options import OpenedInputs

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the SavedModel.", required=True)
_INPUT = flags.DEFINE_string(
    "input", None, "What to predict: a folder, a tar, a pattern of files, or a table of paths."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for the predictions.", required=True)
_SOURCE = flags.DEFINE_enum("source", None, list_sources(), "Data set in whose published layout the inputs are.")
_S2 = flags.DEFINE_string("s2", None, "Sentinel-2 patches of BigEarthNet; without --source, of v1.")
_S1 = flags.DEFINE_string("s1", None, "Sentinel-1 patches of BigEarthNet, alone or as pairs with --s2.")
_METADATA = flags.DEFINE_string("metadata", None, "metadata.parquet of BigEarthNet v2, for its labels and pairs.")
_LISTS_DIR = flags.DEFINE_string(
    "lists_dir", None, 'Folder of lists of BigEarthNet v1, for country and season; "official" for the installed ones.'
)
_LABEL_KIND = flags.DEFINE_enum("label_kind", None, ["single", "multi"], "Labels of SEN12MS to compare with.")
_SPLIT = flags.DEFINE_string("split", None, "Split to predict, for inputs that have splits; default: all.")
_BAND_ORDER = flags.DEFINE_list(
    "band_order", [], "Bands of GeoTIFFs that do not name them, in their order, - to ignore one; or a data set."
)
_LEVEL = flags.DEFINE_enum("level", None, LEVELS, "Processing level of Sentinel-2, where the inputs do not state it.")
_DN_OFFSET = flags.DEFINE_integer(
    "dn_offset", None, "What to add to digital numbers, 0 or -1000 (BOA_ADD_OFFSET), where the inputs do not tell it."
)
_NO_DATA = flags.DEFINE_float("no_data", None, "Value of pixels without data, if it is not 0 or stated by the files.")
_THRESHOLD = flags.DEFINE_float("threshold", None, "Probability from which a class is predicted; default: the model's.")
_STRICT = flags.DEFINE_bool("strict", False, "End at the first input that cannot be predicted.")
_CSV = flags.DEFINE_bool("csv", False, "Write predictions.csv too.")
_SHOW = flags.DEFINE_integer("show", 24, "Number of patches to print and to plot, the first ones.", 0, 300)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Patches that are read and predicted at a time.", lower_bound=1)
# Remarks that are counted.
_MAX_REMARKS = 10_000


def main() -> None:
    """Predicts all patches, then prints and plots the first ones."""
    from bigearth_tf.runtime.preconditions import require_packages, require_writable
    from bigearth_tf.serving.model_inputs import check_threshold, read_model_inputs

    # Everything is checked before TensorFlow is loaded.
    output = Path(_OUTPUT_DIR.value)
    require_packages("osgeo", "tensorflow")
    require_writable(output)
    model = read_model_inputs(_MODEL_DIR.value)
    check_threshold(_THRESHOLD.value, model.label_kind)
    opened = _open_inputs(model)
    print("\n".join(opened.lines), flush=True)

    from bigearth_tf.serving.prediction_folder import PredictionOptions, check_output_folder, predict_to_folder

    options = PredictionOptions(_THRESHOLD.value, _BATCH_SIZE.value, strict=_STRICT.value, csv=_CSV.value)
    check_output_folder(output, _MODEL_DIR.value, opened.inputs, options)

    from bigearth_tf.serving.predictor import Predictor

    predictor = Predictor(_MODEL_DIR.value)
    result = predict_to_folder(predictor, opened.inputs, output, options)
    pictures = _show_first(output, model, predictor, opened.inputs, result)
    print(f"wrote {output}: {result.num_patches} patches{pictures}")
    remarks = list(itertools.islice(result.parts.read_remarks(), _MAX_REMARKS))
    if remarks:
        count = f"{len(remarks)} or more" if len(remarks) == _MAX_REMARKS else str(len(remarks))
        print(f"{count} patches have a remark in the table; the first: {remarks[0].name} {remarks[0].problem}")
    if result.first_problem:
        print(
            f"{result.num_problems} of {len(opened.inputs)} inputs could not be predicted, as problems.csv says; the "
            f"first: {result.first_problem.problem}"
        )


def _open_inputs(model: ModelInputs) -> OpenedInputs:
    from experiments.shared.inputs.options import InputOptions
    from experiments.shared.inputs.recognize import open_inputs

    options = InputOptions(
        source=_SOURCE.value,
        s2=_S2.value,
        s1=_S1.value,
        metadata=_METADATA.value,
        lists_dir=_LISTS_DIR.value,
        label_kind=_LABEL_KIND.value,
        split=_SPLIT.value,
        band_order=tuple(_BAND_ORDER.value),
        level=_LEVEL.value,
        dn_offset=_DN_OFFSET.value,
        no_data=_NO_DATA.value,
    )
    return open_inputs(_INPUT.value, model, options)


def _show_first(
    output: Path, model: ModelInputs, predictor: Predictor, inputs: PatchInputs, result: PredictionResult
) -> str:
    """Prints and plots the first patches; returns what was written, for the last line."""
    from bigearth_tf.serving.prediction_folder import list_thresholds
    from experiments.shared.first_patches import FirstPatches, format_first_patches, read_first_patches
    from experiments.shared.plot_predictions import plot_predictions

    patches = read_first_patches(inputs, result, _SHOW.value)
    if not patches:
        return ""
    thresholds = list_thresholds(predictor, _THRESHOLD.value)
    first = FirstPatches(patches, model.class_names, result.num_patches, thresholds, model.level)
    print(format_first_patches(first))
    pictures = plot_predictions(output / "predictions", first, f"{model.name} from {_MODEL_DIR.value}")
    return f"; {' and '.join(path.name for path in pictures)}: {len(patches)} of them"


if __name__ == "__main__":
    run_command(main)
