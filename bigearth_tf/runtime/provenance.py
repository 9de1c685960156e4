"""The git commit and the package versions that a result depends on."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from bigearth_tf import __version__

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "gdal")


def git_commit() -> str | None:
    """Returns the commit of this checkout, with "-dirty" if files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None


def package_versions() -> dict[str, str]:
    """Returns package -> version, without importing the packages."""
    versions = {"bigearth_tf": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
