"""Benchmarks run on a few patches, and print every figure; the figures themselves mean nothing."""

import importlib.util
import os
import re

import pytest
import tensorflow as tf

from benchmarks.inference_rate import images_per_second
from tests.support import warm_python
from tests.support.paths import REPOSITORY


def run(*arguments):
    """Returns the output of a benchmark."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = warm_python.run(["-m", *arguments], cwd=REPOSITORY, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.full
def test_the_converter_is_compared_with_every_side(tmp_path):
    printed = run("benchmarks.convert", "--num_patches=40", "--repeats=1", f"--work_dir={tmp_path}")
    for side in ("read bytes", "GDAL decode", "GDAL decode, 2 processes", "convert, 1 worker", "convert, 2 workers"):
        assert re.search(rf"^{side} +[1-9]\d*", printed, re.MULTILINE), side
    for ratio in ("1 worker / GDAL decode", "2 workers / 1 worker", "1 worker / int64 records"):
        assert re.search(rf"^{ratio} +\d+\.\d", printed, re.MULTILINE), ratio
    assert [path.name for path in tmp_path.iterdir()] == ["patches-40"]


def test_the_input_pipeline_is_compared_with_every_side(tmp_path):
    printed = run(
        "benchmarks.input_pipeline", "--num_records=16", "--batch_size=4", "--repeats=1", f"--work_dir={tmp_path}"
    )
    assert printed.startswith("160 records a pass, 32 of int64, batches of 4")
    for side in ("read records", "our pipeline", "our pipeline, int64", "plain pipeline, int64"):
        assert re.search(rf"^{side} +[1-9]\d*", printed, re.MULTILINE), side
    for ratio in ("our pipeline / read records", "our pipeline / plain pipeline, int64"):
        assert re.search(rf"^{ratio} +\d+\.\d", printed, re.MULTILINE), ratio


def test_inference_is_compared_with_the_baseline():
    printed = run(
        "benchmarks.inference", "--models=vit_40", "--baseline=mlp_mixer_tiny", "--batch_size=2", "--repeats=1",
        "--seconds=0",
    )  # fmt: skip
    assert printed.startswith("batches of 2 on ")
    assert re.search(r"^mlp_mixer_tiny +[1-9]\d* +1\.00 +136,667 ", printed, re.MULTILINE)
    assert re.search(r"^vit_40 +[1-9]\d* +\d+\.\d\d +1,691,603 ", printed, re.MULTILINE)


def test_mapping_is_compared_with_the_bare_model():
    printed = run("benchmarks.map_scene", "--model=mlp_mixer_tiny", "--bands=RGB", "--side=180", "--repeats=1")
    assert printed.startswith("mlp_mixer_tiny, 180 x 180 px, 16 windows")
    for stage in ("the bare model", "read, cut, predict, store", "write the map"):
        assert re.search(rf"^{stage} +\d+\.\d\d +[1-9]\d*$", printed, re.MULTILINE), stage
    for share in ("without writing the map", "with writing the map"):
        assert re.search(rf"windows/s, {share}: \d+\.\d\d \(", printed), share


def test_the_inference_rate_omits_the_first_call_and_counts_whole_batches():
    now = 0.0

    def predict(batch):
        nonlocal now
        now += 0.6 if now else 100.0
        return tf.zeros([len(batch["B02"]), 19])

    # Calls end after 0.6, 1.2, 1.8 and 2.4 s; the last is the first at 2 s or later.
    assert images_per_second(predict, {"B02": tf.zeros([3, 1, 1])}, 2.0, lambda: now) == pytest.approx(4 * 3 / 2.4)


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("horovod") is None, reason="Horovod is not installed")
def test_scaling_is_measured_compared_with_its_model_and_predicted(tmp_path):
    printed = run(
        "benchmarks.scaling", "--quick", "--models=wide_resnet_eca_b0", "--repeats=1", "--most_ranks=2",
        "--gpu_step_ms=50", "--link=slow:0.001:10", "--link=fast:1000:0.1", "--gpus=8,1024", f"--plot={tmp_path}/x.png",
    )  # fmt: skip
    for side in ("1 rank", "2 independent processes", "2 ranks"):
        assert re.search(rf"^{side} +\d+\.\d\d", printed, re.MULTILINE), side
    parts = re.search(r"= input (.*)% \+ communication (.*)% \+ computing and waiting for each other (.*)%", printed)
    assert sum(map(float, parts.groups())) == pytest.approx(100, abs=0.2)
    assert float(parts[2]) > 0
    assert re.search(r"^wide_resnet_eca_b0 +2( +\d+\.\d){4}$", printed, re.MULTILINE)
    size = float(re.search(r"gradients, (.*) MB", printed)[1])
    # At 10^6 bytes/s, communication takes nearly all the time; at 10^12 bytes/s, none.
    slow, fast = (re.search(rf"^  {name} +(.*)% +(.*)%$", printed, re.MULTILINE).groups() for name in ("slow", "fast"))
    assert float(slow[0]) == pytest.approx(100 * 0.05 / (0.05 + 14 / 8 * size), rel=0.5)
    assert list(map(float, fast)) == pytest.approx([100, 100], abs=0.1)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
def test_explanations_are_compared_with_chance_and_with_shuffled_weights():
    printed = run(
        "benchmarks.explain", "--models=mlp_mixer_tiny", "--num_train=64", "--num_test=8", "--epochs=4", "--num_maps=2"
    )
    assert re.search(
        r"^mlp_mixer_tiny, trained in \d+ s: micro F1 0\.\d+ on the test patches, 2 pairs", printed, re.MULTILINE
    )
    for method in ("occlusion", "integrated_gradients"):
        assert re.search(rf"^{method} +0\.\d+ +0\.\d+ +\d+\.\d\d +[01]\.\d+ ", printed, re.MULTILINE), method


def test_help_of_every_benchmark_loads_no_heavy_package():
    for name in ("convert", "explain", "inference", "input_pipeline", "scaling"):
        script = (
            "import runpy, sys\n"
            f"sys.argv = ['{name}', '--help']\n"
            "try:\n"
            f"    runpy.run_module('benchmarks.{name}', run_name='__main__', alter_sys=True)\n"
            "except SystemExit:\n"
            "    assert not {'tensorflow', 'keras', 'osgeo', 'matplotlib'} & set(sys.modules)\n"
        )
        result = warm_python.run(["-c", script], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES)
        assert result.returncode == 0, result.stderr
        assert f"python -m benchmarks.{name}" in result.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--models=resnet18", "--models=resnet18: unknown; allowed: wide_resnet_eca_b0, resnet50"),
        ("--link=fast", "--link=fast: expected name:10^9 bytes/s:microseconds"),
        ("--gpu_step_ms=5", "--gpu_step_ms: 1 numbers for 2 models"),
    ],
)
def test_scaling_refuses_invalid_flags(flag, message):
    result = warm_python.run(["-m", "benchmarks.scaling", flag], cwd=REPOSITORY)
    assert result.returncode == 1
    assert f"error: {message}" in result.stderr
