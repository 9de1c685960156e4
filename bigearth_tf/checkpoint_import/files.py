"""Files of a checkpoint: found in a zip, in a folder or by a prefix, and read with errors that name the file.

The benchmark's zips contain `checkpoint_NAME/checkpoints-{1..4}.{index,data-00000-of-00001}` and `checkpoint`, which
names the last checkpoint: the best on the validation split.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import tensorflow as tf

from bigearth_tf.checkpoint_import.early_checks import find_prefix
from bigearth_tf.checkpoint_import.safe_zip import unpack
from bigearth_tf.runtime.files import file_sha256

_STATE_NAME = "checkpoint"


@contextlib.contextmanager
def open_checkpoint(path: str | os.PathLike) -> Iterator[Path]:
    """Yields the prefix of a checkpoint.

    Args:
        path: A zip, a folder, a prefix, or a file of the checkpoint. A zip is unpacked into a temporary folder, which
            is deleted at the end of the `with`.

    Raises:
        FileNotFoundError: The path does not exist, or contains no checkpoint.
        ValueError: The zip is unsafe or damaged, or there are several checkpoints.
    """
    path = Path(path)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        with tempfile.TemporaryDirectory(prefix="checkpoint_import_") as folder:
            unpack(path, Path(folder))
            yield _find_in_folder(Path(folder), str(path))
    elif path.is_dir():
        yield _find_in_folder(path, str(path))
    else:
        yield find_prefix(path)


def _find_in_folder(folder: Path, shown_path: str) -> Path:
    """Returns the prefix of the checkpoint in a folder or in one subfolder; the last if a run wrote several."""
    folders = sorted({index.parent for index in folder.rglob("*.index")})
    if not folders:
        raise FileNotFoundError(f"{shown_path}: contains no checkpoint (no file NAME.index).")
    if len(folders) > 1:
        names = ", ".join(str(each.relative_to(folder)) for each in folders)
        raise ValueError(f"{shown_path}: there are checkpoints in several folders ({names}). Name one of them.")
    (folder,) = folders
    prefixes = {index.name[: -len(".index")]: index.with_suffix("") for index in sorted(folder.glob("*.index"))}
    last = _read_last_name(folder)
    if last in prefixes:
        return prefixes[last]
    names = ", ".join(prefixes)
    if last is not None:
        raise FileNotFoundError(f"{shown_path}: its file `checkpoint` names {last}, which is missing; found {names}.")
    if len(prefixes) > 1:
        raise ValueError(
            f"{shown_path}: contains {names} and no file `checkpoint` that names the last. Name one of these prefixes."
        )
    return prefixes[names]


def _read_last_name(folder: Path) -> str | None:
    """Returns the name of the last checkpoint from the file `checkpoint`, without the writer's folder."""
    path = folder / _STATE_NAME
    if not path.is_file():
        return None
    # Not by TensorFlow's reader, which follows the path in the file.
    found = re.search(
        r'^model_checkpoint_path:\s*"([^"\n]*)"', path.read_text(encoding="utf-8", errors="replace"), re.M
    )
    if not found:
        raise ValueError(f"{path}: this file names no checkpoint (model_checkpoint_path). Name a prefix instead.")
    return PureWindowsPath(found.group(1)).name  # Splits at / and at \\.


def hash_data_files(prefix: Path) -> dict[str, str]:
    """Returns the SHA-256 of each data file of a checkpoint, by its name."""
    return {path.name: file_sha256(path) for path in sorted(prefix.parent.glob(f"{prefix.name}.data-*-of-*"))}


def open_reader(prefix: Path) -> tf.train.CheckpointReader:
    """Returns TensorFlow's reader of a checkpoint.

    Raises:
        ValueError: The index is damaged.
    """
    with _errors_with_prefix(prefix):
        return tf.train.load_checkpoint(os.fspath(prefix))


def read_tensor(reader: tf.train.CheckpointReader, prefix: Path, key: str) -> tf.Tensor:
    """Returns a tensor of a checkpoint as a NumPy array; TensorFlow checks its CRC-32C.

    Raises:
        ValueError: The data file is cut short, changed or missing.
    """
    with _errors_with_prefix(prefix, f" at {key}"):
        return reader.get_tensor(key)


@contextlib.contextmanager
def _errors_with_prefix(prefix: Path, where: str = "") -> Iterator[None]:
    """Converts TensorFlow's errors to a ValueError that names the checkpoint."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError, IndexError) as error:  # IndexError: a file that is cut short.
        raise ValueError(
            f"{prefix}: the checkpoint is damaged, cut short or incomplete{where}. Download it again. "
            f"TensorFlow reports: {str(error).strip().splitlines()[0]}"
        ) from error
