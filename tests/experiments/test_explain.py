"""The command that explains: from a finished run or an export to maps, importance of bands and checks."""

import json
import os

import numpy as np
import pytest

from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.explain import Explainer, Settings, read_patches
from bigearth_tf.explain.occlusion import Windows
from bigearth_tf.serving.export import export_run
from tests.support import warm_python
from tests.support.finished_runs import write_finished_run
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

COARSE = ("--occlusion_px=40", "--occlusion_stride_px=40", "--steps=4")


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return warm_python.run(["-m", "experiments.explain", *arguments], env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    manifest = write_records(folder / "records", {"train": 2, "test": 4})
    write_finished_run(folder / "run", manifest)
    export_run(folder / "run", folder / "model")
    return folder


@pytest.mark.full
def test_a_run_is_explained_checked_and_asked_for_its_bands(folder):
    output = folder / "why"
    result = run(
        f"--workdir={folder}/run", f"--data_dir={folder}/records", f"--output_dir={output}", "--num_patches=2",
        "--class_name=bright", "--sanity", "--band_importance", *COARSE,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    rows = (output / "attributions.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3
    assert all(",bright," in row for row in rows[1:])
    ids = {row.split(",")[0] for row in rows[1:]}
    maps = {name: np.load(output / name / "maps.npz") for name in ids}
    assert all(set(found) == {"grad_cam", "occlusion", "integrated_gradients"} for found in maps.values())
    # In the three lines of the documentation.
    explainer = Explainer.from_run(folder / "run")
    patch = next(read_patches(ShardedDataset.open(folder / "records"), "test", explainer.inputs.bands))
    settings = Settings(Windows(40, 40), steps=4)
    for method, values in maps[patch.patch_id].items():
        expected = explainer.explain(patch.bands, "bright", method, settings).values
        np.testing.assert_allclose(values, expected, atol=1e-7)
    checks = json.loads((output / "sanity.json").read_text())
    assert set(checks["grad_cam"]) == {"random_weights", "other_class", "other_patch"}
    assert "similarity of maps, mean of 2 patches" in result.stdout
    assert [line.split(",")[0] for line in sorted((output / "band_importance.csv").read_text().splitlines())] == [
        "B02", "B03", "B04", "all bands", "band"
    ]  # fmt: skip
    assert (output / "band_importance.png").read_bytes().startswith(b"\x89PNG")
    assert "micro_f1 0." in result.stdout


def test_an_export_is_explained_by_occlusion_as_its_run(folder):
    output = folder / "why_export"
    result = run(
        f"--model_dir={folder}/model", f"--data_dir={folder}/records", f"--output_dir={output}",
        "--patch_ids=test_001", *COARSE,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    explainer = Explainer.from_run(folder / "run")
    data = ShardedDataset.open(folder / "records")
    (patch,) = read_patches(data, "test", explainer.inputs.bands, patch_ids=["test_001"])
    expected = explainer.explain(patch.bands, None, "occlusion", Settings(Windows(40, 40)))
    found = np.load(output / "test_001" / "maps.npz")
    assert set(found) == {"occlusion"}
    np.testing.assert_allclose(found["occlusion"], expected.values, atol=1e-6)
    assert f"test_001: {expected.class_name}, probability {expected.probability:.3f}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data_dir=x"], "error: Name the model by --workdir or by --model_dir"),
        (["--workdir=x"], "error: Name the patches by --data_dir or by --scene"),
        (["--workdir=x", "--scene=y", "--band_importance"], "error: --band_importance needs --data_dir"),
        (["--model_dir=x", "--data_dir=y", "--sanity"], "error: --sanity needs --workdir"),
        (["--workdir=x", "--scene=y", "--window=5"], "error: --window=5: expected x,y in pixels"),
        (["--workdir=x", "--scene=y", "--methods=lime"], "error: --methods=lime: unknown; allowed are grad_cam,"),
        (["--workdir=nowhere", "--scene=y"], "error: nowhere/config.json: missing. Name the --workdir"),
        (["--model_dir=x", "--scene=y", "--occlusion_px=4"], "error: A stride of 6 px does not fit windows of 4 px"),
        (["--model_dir=x", "--data_dir=nowhere"], "error: nowhere/manifest.json: there is no manifest"),
        (["--model_dir=nowhere", "--scene=y"], "error: nowhere: no SavedModel here"),
        (["--workdir={folder}/run", "--scene=y"], "error: y: does not exist"),
        (["--workdir={folder}/run", "--data_dir={folder}/records", "--split=tset"], "tset"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_message_before_tensorflow_is_loaded(folder, tmp_path, arguments, message):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['explain', *{[argument.format(folder=folder) for argument in arguments]}, "
        f"'--output_dir={tmp_path}/why']\n"
        "try:\n"
        "    runpy.run_module('experiments.explain', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "    raise\n"
    )
    result = warm_python.run(["-c", script], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "why").exists()
