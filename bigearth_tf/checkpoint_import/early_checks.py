"""Checks of an import that need no TensorFlow: whether there is a checkpoint, and where the import is written to."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bigearth_tf.runs.record import RESULT_NAME

_FILE_END = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


def find_prefix(path: Path) -> Path:
    """Returns the prefix of a checkpoint that is named by it or by one of its files.

    Raises:
        FileNotFoundError: There is no such checkpoint.
    """
    prefix = path.with_name(_FILE_END.sub("", path.name))
    if not prefix.with_name(f"{prefix.name}.index").is_file():
        raise FileNotFoundError(f"{path}: no zip, no folder, and no checkpoint of this prefix (its .index is missing).")
    return prefix


def check_checkpoint_exists(path: Path) -> None:
    """Checks that a zip, folder or prefix exists.

    Raises:
        FileNotFoundError: There is none.
    """
    if not path.exists():
        find_prefix(path)


def check_output_dir(output_dir: Path) -> None:
    """Checks that an import may be written to a folder: it does not exist, is empty, or contains an earlier import.

    Raises:
        ValueError: It contains something else.
    """
    if not output_dir.exists() or (output_dir.is_dir() and not any(output_dir.iterdir())):
        return
    result = output_dir / RESULT_NAME
    if not result.is_file() or "imported_from" not in json.loads(result.read_text(encoding="utf-8")):
        raise ValueError(f"{output_dir}: contains something other than an imported model. Name another --output.")
