"""Which checkpoint does a path stand for? That of a zip, of a folder, or one named by its prefix.

The published zips hold `checkpoint_NAME/checkpoints-{1..4}.{index,data-00000-of-00001}` and `checkpoint`, which names
the last: the best on the validation split.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import tensorflow as tf

from bigearth_tf.checkpoint_import.safe_zip import unpack

_STATE_NAME = "checkpoint"
_FILE_END = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Path]:
    """Gives the prefix of the checkpoint that a zip, folder, prefix or file of a checkpoint stands for.

    A zip is unpacked into a folder that is there inside the `with` only.

    Raises:
        FileNotFoundError: There is nothing, or no checkpoint in it.
        ValueError: The zip is unsafe or damaged, or several checkpoints could be meant.
    """
    path = Path(path)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        with tempfile.TemporaryDirectory(prefix="published_") as folder:
            unpack(path, Path(folder))
            yield _in_folder(Path(folder), str(path))
    elif path.is_dir():
        yield _in_folder(path, str(path))
    else:
        prefix = path.with_name(_FILE_END.sub("", path.name))
        if not prefix.with_name(f"{prefix.name}.index").is_file():
            raise FileNotFoundError(
                f"{path}: no zip, no folder, and no checkpoint of this prefix (there is no .index)."
            )
        yield prefix


def _in_folder(folder: Path, named: str) -> Path:
    """Returns the prefix of the one checkpoint in a folder or in one below it; the last where a run wrote several."""
    folders = sorted({index.parent for index in folder.rglob("*.index")})
    if not folders:
        raise FileNotFoundError(f"{named}: there is no checkpoint in it (no file NAME.index).")
    if len(folders) > 1:
        listed = ", ".join(str(each.relative_to(folder)) for each in folders)
        raise ValueError(f"{named}: there are checkpoints in several folders ({listed}). Name one of them.")
    (folder,) = folders
    prefixes = {index.name[: -len(".index")]: index.with_suffix("") for index in sorted(folder.glob("*.index"))}
    last = _last_of(folder)
    if last in prefixes:
        return prefixes[last]
    listed = ", ".join(prefixes)
    if last is not None:
        raise FileNotFoundError(f"{named}: its file `checkpoint` names {last}, which is not there; there is {listed}.")
    if len(prefixes) > 1:
        raise ValueError(f"{named}: it holds {listed} and no file `checkpoint` that names the last. Name one prefix.")
    return prefixes[listed]


def _last_of(folder: Path) -> str | None:
    """Returns the base name that the file `checkpoint` gives; its folder is that of another machine."""
    path = folder / _STATE_NAME
    if not path.is_file():
        return None
    # By hand: TensorFlow's own reader follows the path that is written there.
    found = re.search(
        r'^model_checkpoint_path:\s*"([^"\n]*)"', path.read_text(encoding="utf-8", errors="replace"), re.M
    )
    if not found:
        raise ValueError(f"{path}: this file names no checkpoint (model_checkpoint_path). Name a prefix instead.")
    return PureWindowsPath(found.group(1)).name  # Splits at / and \\ alike.


def data_sha256(prefix: Path) -> dict[str, str]:
    """Returns the SHA-256 of each data file of a checkpoint, by its name."""
    hashes = {}
    for path in sorted(prefix.parent.glob(f"{prefix.name}.data-*-of-*")):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        hashes[path.name] = digest.hexdigest()
    return hashes


def open_reader(prefix: Path) -> tf.train.CheckpointReader:
    """Returns TensorFlow's reader of a checkpoint.

    Raises:
        ValueError: The index is damaged.
    """
    with _told_of(prefix):
        return tf.train.load_checkpoint(os.fspath(prefix))


def read_tensor(reader: tf.train.CheckpointReader, prefix: Path, key: str) -> tf.Tensor:
    """Returns a tensor as NumPy holds it; TensorFlow checks its CRC-32C.

    Raises:
        ValueError: The data file is cut short, changed or missing.
    """
    with _told_of(prefix, f" at {key}"):
        return reader.get_tensor(key)


@contextlib.contextmanager
def _told_of(prefix: Path, where: str = "") -> Iterator[None]:
    """Turns TensorFlow's errors into one that names the file."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError, IndexError) as error:  # IndexError: a file that ends early.
        raise ValueError(
            f"{prefix}: the checkpoint is damaged, cut short or incomplete{where}. Fetch it again. "
            f"TensorFlow says: {str(error).strip().splitlines()[0]}"
        ) from error
