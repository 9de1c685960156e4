"""A new folder for a cluster; the test is skipped where no cluster can be started."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.slurm_cluster.cluster import missing_programs, why_not


@contextlib.contextmanager
def new_cluster_folder() -> Iterator[Path]:
    """Yields a folder whose path is short, as sockets are created in it; removes it at the end.

    Where SLURM is not installed, the test is skipped, but fails under CI=true: `.ci/run` installs it.
    """
    if reason := why_not():
        if missing_programs() and os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but {reason}")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
