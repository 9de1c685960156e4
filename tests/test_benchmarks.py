"""Do the benchmarks run and print what they promise? On so few patches their figures mean nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def test_the_converter_is_measured_beside_every_side(tmp_path):
    command = [sys.executable, "-m", "benchmarks.convert", "--num_patches=40", "--repeats=1", f"--work_dir={tmp_path}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    for side in ("read bytes", "GDAL decode", "GDAL decode, 2 processes", "convert, 1 worker", "convert, 2 workers"):
        assert re.search(rf"^{side} +[1-9]\d*", result.stdout, re.MULTILINE), side
    for ratio in ("1 worker / GDAL decode", "2 workers / 1 worker", "1 worker / int64 records"):
        assert re.search(rf"^{ratio} +\d+\.\d", result.stdout, re.MULTILINE), ratio
    assert [path.name for path in tmp_path.iterdir()] == ["patches-40"]
