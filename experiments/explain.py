"""Says why a model predicts a class: attribution maps of patches, the importance of bands, and checks of the maps.

    python -m experiments.explain --workdir=runs/demo/train --data_dir=runs/demo/records/synthetic --output_dir=why
    python -m experiments.explain --workdir=runs/demo/train --scene=scene.SAFE --window=4200,3000 --output_dir=why

Maps of the logit of a class, by default the top class of each patch: Grad-CAM for models with maps, occlusion and
integrated gradients for all; for an exported model (--model_dir) occlusion only. Writes a folder for each patch with a
picture, the maps (a GeoTIFF for windows of scenes) and the numbers, and attributions.csv. Run again, it explains only
what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar

if TYPE_CHECKING:
    from bigearth_tf.data.sharded_dataset import ShardedDataset
    from bigearth_tf.explain import Explainer, PatchToExplain, Settings
    from bigearth_tf.explain.explanation_folder import Request

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run of experiments.train.")
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of an exported model, in place of --workdir.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest whose patches are explained.")
_SPLIT = flags.DEFINE_string("split", "test", "Split of --data_dir.")
_PATCH_IDS = flags.DEFINE_list("patch_ids", [], "Ids of the patches; default: the first of the split.")
_NUM_PATCHES = flags.DEFINE_integer("num_patches", 8, "Number of patches without --patch_ids.", lower_bound=1)
_SCENE = flags.DEFINE_string("scene", None, "Scene as for experiments.map_scene, or a patch with georeference.")
_WINDOWS = flags.DEFINE_multi_string(
    "window", ["0,0"], "x,y of the upper left pixel of a window of --scene; may be given several times."
)
_BAND_ORDER = flags.DEFINE_list(
    "band_order", [], "Names of the bands of a --scene that does not name them, in its order; - for a band to ignore."
)
_DN_OFFSET = flags.DEFINE_integer(
    "dn_offset", None, "What to add to digital numbers, 0 or -1000, where the --scene does not state it."
)
_CLASS_NAME = flags.DEFINE_string("class_name", None, "Class to explain; default: the top class of each patch.")
_METHODS = flags.DEFINE_list("methods", [], "grad_cam, occlusion, integrated_gradients; default: all that apply.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write into.", required=True)
_STEPS = flags.DEFINE_integer("steps", 64, "Steps of integrated gradients.", lower_bound=1)
_WINDOW_PX = flags.DEFINE_integer("occlusion_px", 12, "Side of the occluding square, on the finest band.")
_STRIDE_PX = flags.DEFINE_integer("occlusion_stride_px", 6, "Distance from square to square.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Copies of a patch that are predicted at a time.", lower_bound=1)
_BAND_IMPORTANCE = flags.DEFINE_bool(
    "band_importance", False, "Also measure what the split loses without each band: band_importance.csv and .png."
)
_SANITY = flags.DEFINE_bool("sanity", False, "Also check that maps depend on weights, class and patch: sanity.json.")


def main() -> None:
    """Explains the patches, and prints the results."""
    _check_flags()
    corners = [_parse_corner(text) for text in _WINDOWS.value]
    from bigearth_tf.data.sharded_dataset import ShardedDataset
    from bigearth_tf.explain.occlusion import Windows
    from bigearth_tf.explain.settings import Settings
    from bigearth_tf.runs.record import check_finished, digest_shards

    if _WORKDIR.value:
        check_finished(Path(_WORKDIR.value))
    settings = Settings(Windows(_WINDOW_PX.value, _STRIDE_PX.value), _STEPS.value, _BATCH_SIZE.value)
    if _DATA_DIR.value:
        data = ShardedDataset.open(_DATA_DIR.value)
        source = f"{_SPLIT.value} {digest_shards(data.shards(_SPLIT.value))}"
    else:
        source, windows = _read_windows(corners)
    # TensorFlow and matplotlib are loaded here: neither --help nor a wrong path must wait for them.
    from bigearth_tf.evaluation.predict_run import check_fit
    from bigearth_tf.explain import Explainer, read_patches
    from bigearth_tf.explain.explanation_folder import Request
    from bigearth_tf.serving.model_inputs import hash_export

    if _WORKDIR.value:
        explainer = Explainer.from_run(_WORKDIR.value)
        model = explainer.weights_sha256()
    else:
        explainer, model = Explainer.from_export(str(_MODEL_DIR.value)), hash_export(str(_MODEL_DIR.value))
    request = Request(model, source, tuple(_METHODS.value) or explainer.methods, _CLASS_NAME.value, settings)
    if not _DATA_DIR.value:
        _explain(explainer, windows, len(windows), request)
        return
    check_fit(explainer.inputs, data)
    rows = explainer.inputs.bands
    patches = read_patches(data, _SPLIT.value, rows, patch_ids=_PATCH_IDS.value, count=_NUM_PATCHES.value)
    number = len(set(_PATCH_IDS.value)) or min(_NUM_PATCHES.value, data.num_records(_SPLIT.value))
    _explain(explainer, patches, number, request)
    if _BAND_IMPORTANCE.value:
        _write_band_importance(explainer, data)


def _check_flags() -> None:
    """Raises ValueError where flags are missing or do not fit together."""
    from bigearth_tf.explain.settings import METHODS

    if bool(_WORKDIR.value) == bool(_MODEL_DIR.value):
        raise ValueError("Name the model by --workdir or by --model_dir, by one of them.")
    if bool(_DATA_DIR.value) == bool(_SCENE.value):
        raise ValueError("Name the patches by --data_dir or by --scene, by one of them.")
    if _BAND_IMPORTANCE.value and not _DATA_DIR.value:
        raise ValueError("--band_importance needs --data_dir: it is measured on a split.")
    if _SANITY.value and not _WORKDIR.value:
        raise ValueError("--sanity needs --workdir: the weights of an exported model cannot be shuffled.")
    if unknown := sorted(set(_METHODS.value) - set(METHODS)):
        raise ValueError(f"--methods={','.join(unknown)}: unknown; allowed are {', '.join(METHODS)}.")


def _parse_corner(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise ValueError(f"--window={text}: expected x,y in pixels of the finest band, such as 4200,3000.")
    return int(parts[0]), int(parts[1])


def _read_windows(corners: list[tuple[int, int]]) -> tuple[str, list[PatchToExplain]]:
    """Returns what identifies the scene, and its windows."""
    from bigearth_tf.explain.scene_window import SceneWindows
    from bigearth_tf.runs.record import read_settings
    from bigearth_tf.serving.model_inputs import describe_run_inputs, read_model_inputs

    if _WORKDIR.value:
        inputs = describe_run_inputs(read_settings(Path(_WORKDIR.value)))
    else:
        inputs = read_model_inputs(str(_MODEL_DIR.value))
    scene = SceneWindows.open(str(_SCENE.value), inputs, band_order=_BAND_ORDER.value, dn_offset=_DN_OFFSET.value)
    return scene.identity(), list(scene.read(corners))


def _explain(explainer: Explainer, patches: Iterable[PatchToExplain], number: int, request: Request) -> None:
    from bigearth_tf.explain.explanation_folder import explain_patches

    output_dir = Path(_OUTPUT_DIR.value)
    if _SANITY.value:
        patches = list(patches)
    with progress_bar(number, "explain", "patch") as bar:
        rows = explain_patches(explainer, patches, request, output_dir, bar.update)
    for row in rows:
        if row["method"] == request.methods[0]:
            print(f"{row['patch_id']}: {row['class_name']}, probability {row['probability']:.3f}")
    methods = ", ".join(request.methods)
    print(f"wrote {output_dir}: attributions.csv, and a folder for each of {number} patches: {methods}")
    if _SANITY.value:
        _write_sanity(explainer, list(patches), request.settings)


def _write_band_importance(explainer: Explainer, data: ShardedDataset) -> None:
    from bigearth_tf.explain.band_importance import format_csv, measure_band_importance
    from bigearth_tf.explain.pictures import draw_band_importance
    from bigearth_tf.runtime.files import atomic_file, write_text_atomically

    output_dir = Path(_OUTPUT_DIR.value)
    with progress_bar(data.num_records(_SPLIT.value), "band importance", "patch") as bar:
        table = measure_band_importance(explainer, data, _SPLIT.value, report=bar.update)
    write_text_atomically(output_dir / "band_importance.csv", format_csv(table))
    with atomic_file(output_dir / "band_importance.png") as temporary:
        draw_band_importance(temporary, table)
    print(f"\n{table.score_name} {table.score:.3f} on {table.num_records} patches of {_SPLIT.value} with all bands")
    print(f"{'without':10} {table.score_name:>9} {'loss':>7} {'loss of the logit':>18}")
    for row in table.rows:
        print(f"{row.band:10} {row.score:9.3f} {row.score_loss:+7.3f} {row.logit_loss:+18.3f}")


def _write_sanity(explainer: Explainer, patches: list[PatchToExplain], settings: Settings) -> None:
    import dataclasses

    from bigearth_tf.explain.sanity import check_maps
    from bigearth_tf.runtime.files import write_json_atomically

    with progress_bar(len(patches) * len(explainer.methods), "sanity checks", "map") as bar:
        checks = check_maps(explainer, [patch.bands for patch in patches], settings, bar.update)
    content = {method: dataclasses.asdict(check) for method, check in checks.items()}
    write_json_atomically(Path(_OUTPUT_DIR.value) / "sanity.json", content)
    columns = ("random_weights", "other_class", "other_patch")
    print(f"\nsimilarity of maps, mean of {len(patches)} patches: rank correlation, SSIM (1: the maps are equal)")
    print(f"{'':22}" + "".join(f"{column.replace('_', ' '):>18}" for column in columns))
    for method, row in content.items():
        cells = [f"{row[key]['rank']:+.2f}, {row[key]['ssim']:+.2f}" if row[key] else "-" for key in columns]
        print(f"{method:22}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    run_command(main)
