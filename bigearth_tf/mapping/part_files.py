"""The work folder of a map: the plan of its parts, and a file with the answers of each part that is done.

A part is written whole or not at all, and its bytes do not depend on the process that writes it. A map is resumed by
computing the parts that are missing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bigearth_tf.mapping.windows import Part
from bigearth_tf.runtime.files import atomic_file, write_json_atomically

PLAN_NAME = "plan.json"


@dataclasses.dataclass(frozen=True)
class PartAnswers:
    """The answers for the windows of a part, and its pixels that have data.

    `probabilities` float32 [rows, columns, K], 0 for windows without data; `is_valid` bool [h, w], of the pixels that
    belong to the part.
    """

    probabilities: np.ndarray
    is_valid: np.ndarray


def claim_folder(folder: Path, plan: dict[str, Any], output: Path) -> None:
    """Creates the work folder of a map, or checks that it belongs to the same map.

    Args:
        folder: The work folder.
        plan: Everything that decides the bytes of the map.
        output: The map, for messages.

    Raises:
        ValueError: The folder belongs to another map.
    """
    path = folder / PLAN_NAME
    if path.exists():
        require_same_plan(json.loads(path.read_text(encoding="utf-8")), plan, folder, output)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, plan)


def require_same_plan(stored: dict[str, Any], plan: dict[str, Any], place: Path, output: Path) -> None:
    """Raises ValueError that names what differs, if two plans are not the same."""
    stored, plan = (dict(_leaves("", json.loads(json.dumps(content)))) for content in (stored, plan))
    different = [key for key in {**stored, **plan} if stored.get(key) != plan.get(key)]
    if different:
        shown = "; ".join(f"{key}: {stored.get(key)} there, {plan.get(key)} here" for key in different[:3])
        raise ValueError(
            f"{place}: belongs to another map for {output} ({shown}). Name another --output, or delete {place}."
        )


def _leaves(key: str, content: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(content, dict):
        yield key, content
        return
    for name, value in content.items():
        yield from _leaves(f"{key}.{name}".lstrip("."), value)


def part_path(folder: Path, part: Part) -> Path:
    """Returns the file of a part."""
    return folder / f"part-{part.index:05d}.npz"


def missing_parts(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """Returns the parts that are not written yet."""
    return [part for part in parts if not part_path(folder, part).exists()]


def write_part(folder: Path, part: Part, answers: PartAnswers) -> None:
    """Writes the file of a part atomically.

    Raises:
        OSError: The folder cannot be written.
    """
    with atomic_file(part_path(folder, part)) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            probabilities=answers.probabilities,
            is_valid=np.packbits(answers.is_valid, axis=1),
            width=answers.is_valid.shape[1],
        )


def read_part(folder: Path, part: Part) -> PartAnswers:
    """Returns the content of a part's file.

    Raises:
        OSError: The file is gone or damaged.
    """
    path = part_path(folder, part)
    try:
        with np.load(path) as content:
            is_valid = np.unpackbits(content["is_valid"], axis=1, count=int(content["width"])).astype(bool)
            return PartAnswers(content["probabilities"], is_valid)
    except (ValueError, KeyError, EOFError) as error:
        raise OSError(f"{path}: is damaged ({error}). Delete it, and run the same command.") from error
