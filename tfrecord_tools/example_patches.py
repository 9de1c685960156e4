"""Unpacks the six real Sentinel-1 and Sentinel-2 pairs of the package bigearthnet-common.

    python -m tfrecord_tools.example_patches --output_dir=real

Writes `BigEarthNet-v1.0/` and `BigEarthNet-S1-v1.0/` in the layout of the archive. The patches are of BigEarthNet-MM,
CDLA-Permissive-1.0, and contain modified Copernicus Sentinel data 2017-2018.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.files import atomic_folder
from bigearth_tf.runtime.system_files import list_own_files
from tfrecord_tools.listing.patch_lists import official_lists_folder

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write; created if missing.", required=True)

_ARCHIVES = {
    "BigEarthNet-S2-Example.tar.bz2": "BigEarthNet-v1.0",
    "BigEarthNet-S1-Example.tar.bz2": "BigEarthNet-S1-v1.0",
}


def main() -> None:
    """Unpacks the patches, and prints how many each folder contains."""
    for folder in unpack(Path(_OUTPUT_DIR.value)):
        print(f"{folder}: {len(list_own_files(folder))} patches")


def unpack(output_dir: Path) -> list[Path]:
    """Writes both folders, each whole or not at all, and returns them; an existing folder is kept.

    Raises:
        FileNotFoundError: bigearthnet-common is not installed.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    folders = []
    for archive, name in _ARCHIVES.items():
        folder = output_dir / name
        if not folder.exists():
            with tarfile.open(official_lists_folder() / archive) as tar, atomic_folder(folder) as temporary:
                for member in tar:
                    _unpack_member(tar, member, temporary)
        folders.append(folder)
    return folders


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Writes `root/patch/file`; skips anything else in the tar (links, devices, paths that lead out of the folder)."""
    parts = PurePosixPath(member.name).parts
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or len(parts) != 3 or ".." in parts:
        return
    path = folder.joinpath(*parts[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)


if __name__ == "__main__":
    run_command(main)
