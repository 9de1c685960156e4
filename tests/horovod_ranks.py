"""Starts real Horovod processes on this machine, as a user does by horovodrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent


def run_on_ranks(ranks: int, script: str, *arguments: Any) -> subprocess.CompletedProcess:
    """Runs a script on so many ranks without a GPU, and returns how they ended and what they said."""
    horovodrun = Path(sys.executable).with_name("horovodrun")
    command = [horovodrun, "-np", ranks, "--gloo", sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=240)
