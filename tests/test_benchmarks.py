"""Do the benchmarks run and print what they promise? On so few patches their figures mean nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def run(*arguments):
    """Returns what a benchmark prints."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *arguments]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_the_converter_is_measured_beside_every_side(tmp_path):
    printed = run("benchmarks.convert", "--num_patches=40", "--repeats=1", f"--work_dir={tmp_path}")
    for side in ("read bytes", "GDAL decode", "GDAL decode, 2 processes", "convert, 1 worker", "convert, 2 workers"):
        assert re.search(rf"^{side} +[1-9]\d*", printed, re.MULTILINE), side
    for ratio in ("1 worker / GDAL decode", "2 workers / 1 worker", "1 worker / int64 records"):
        assert re.search(rf"^{ratio} +\d+\.\d", printed, re.MULTILINE), ratio
    assert [path.name for path in tmp_path.iterdir()] == ["patches-40"]


def test_the_input_pipeline_is_measured_beside_every_side(tmp_path):
    printed = run(
        "benchmarks.input_pipeline", "--num_records=16", "--batch_size=4", "--repeats=1", f"--work_dir={tmp_path}"
    )
    assert printed.startswith("160 records a pass, 32 of int64, batches of 4")
    for side in ("read records", "our pipeline", "our pipeline, int64", "plain pipeline, int64"):
        assert re.search(rf"^{side} +[1-9]\d*", printed, re.MULTILINE), side
    for ratio in ("our pipeline / read records", "our pipeline / plain pipeline, int64"):
        assert re.search(rf"^{ratio} +\d+\.\d", printed, re.MULTILINE), ratio
