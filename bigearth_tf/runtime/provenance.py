"""The git commit and the package versions that a result depends on."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from bigearth_tf import __version__

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "gdal")


def git_commit() -> str | None:
    """Returns the commit of the checkout that this code runs from, with "-dirty" where files differ; None elsewhere."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None


def package_versions() -> dict[str, str]:
    """Returns the versions that a result depends on, without importing what they are versions of."""
    versions = {"bigearth_tf": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
