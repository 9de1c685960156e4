"""New folder for a cluster; the test is skipped if no cluster can be started."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.slurm_cluster.cluster import find_obstacle, missing_programs


@contextlib.contextmanager
def new_cluster_folder() -> Iterator[Path]:
    """Yields a folder whose path is short, as sockets are created in it; removes it at the end.

    The test is skipped if no cluster can be started. Without SLURM it fails under CI=true: `.ci/run` installs SLURM.
    """
    if reason := find_obstacle():
        if missing_programs() and os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but {reason}")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
