"""What does a folder of shards hold? The manifest beside them says it, and is believed only when the files agree.

Band order, class order and counts travel in it: no configuration repeats them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigearth_tf.bands import BANDS, Band

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
_RECONVERT = "Run `python -m tfrecord_tools.verify`, and convert again what it names."


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file. `class_counts` [K] counts the records that carry each class."""

    name: str
    split: str
    num_records: int
    num_bytes: int
    sha256: str
    class_counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything a reader must know of a data set.

    `bands` are rows as stored (name, sensor, resolution_m, size_px, dtype, unit), in the order of the records.
    `class_names` give label indices their meaning. `label_kind` is "multi" or "single". `exclusions` counts, by
    reason, the patches of the source that were left out. `options` are those that decide the bytes.
    """

    schema_version: int
    dataset: str
    source: str
    licence: str
    label_kind: str
    class_names: tuple[str, ...]
    bands: tuple[dict[str, Any], ...]
    shards: tuple[Shard, ...]
    exclusions: dict[str, int]
    options: dict[str, Any]
    versions: dict[str, str]

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the stored bands, in their order."""
        return tuple(row["name"] for row in self.bands)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have records."""
        return tuple(dict.fromkeys(shard.split for shard in self.shards))

    def split_shards(self, split: str) -> tuple[Shard, ...]:
        """Returns the shards of a split, sorted by name.

        Raises:
            ValueError: The data set has no such split.
        """
        found = sorted((shard for shard in self.shards if shard.split == split), key=lambda shard: shard.name)
        if not found:
            raise ValueError(f"No split {split!r} in this data set; it has {', '.join(self.splits) or 'none'}.")
        return tuple(found)

    def num_records(self, split: str) -> int:
        """Returns the number of records of a split."""
        return sum(shard.num_records for shard in self.split_shards(split))

    def class_counts(self, split: str) -> tuple[int, ...]:
        """Returns, for each class, the number of records of a split that carry it."""
        return tuple(sum(counts) for counts in zip(*(shard.class_counts for shard in self.split_shards(split))))

    def require_bands(self, bands: Sequence[Band]) -> None:
        """Checks that every band is stored, as its row in `bigearth_tf.bands` says.

        Raises:
            ValueError: A band is not stored, or is stored otherwise.
        """
        stored = {row["name"]: row for row in self.bands}
        for band in bands:
            if band.name not in stored:
                raise ValueError(
                    f"Band {band.name} is not in this data set, which has {', '.join(stored)}; "
                    "choose other bands, or convert again with them."
                )
            if stored[band.name] != band_row(band):
                raise ValueError(f"Band {band.name} is stored as {stored[band.name]}, expected {band_row(band)}.")


def band_row(band: Band) -> dict[str, Any]:
    """Returns what a manifest or a model card says of a band."""
    return {
        "name": band.name,
        "sensor": band.sensor,
        "resolution_m": band.resolution_m,
        "size_px": band.size_px,
        "dtype": band.dtype,
        "unit": band.unit,
    }


def write_manifest(manifest: Manifest, folder: str | os.PathLike) -> None:
    """Writes the manifest into the folder of its shards, whole or not at all."""
    write_text_atomically(
        Path(folder) / MANIFEST_NAME, json.dumps(dataclasses.asdict(manifest), indent=1, ensure_ascii=False) + "\n"
    )


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a file beside its final name, then renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Returns the manifest of a folder after comparing the shards' names and sizes with it.

    Raises:
        FileNotFoundError: The folder has no manifest, or a shard is missing.
        ValueError: The manifest is not one that this code reads, or a shard has another size.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no manifest. Name a folder that `python -m tfrecord_tools.convert` has finished; "
            "a conversion that was interrupted is finished by running it again."
        )
    try:
        manifest = _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a manifest that this version reads ({error!r}). Convert again.") from error
    for shard in manifest.shards:
        file = path.with_name(shard.name)
        if not file.exists():
            raise FileNotFoundError(f"{file}: the manifest names this shard, but it is missing. {_RECONVERT}")
        if file.stat().st_size != shard.num_bytes:
            raise ValueError(
                f"{file}: has {file.stat().st_size} bytes, the manifest says {shard.num_bytes}. {_RECONVERT}"
            )
    return manifest


def _from_json(content: dict[str, Any]) -> Manifest:
    shards = tuple(Shard(**{**row, "class_counts": tuple(row["class_counts"])}) for row in content.pop("shards"))
    class_names, bands = tuple(content.pop("class_names")), tuple(content.pop("bands"))
    manifest = Manifest(shards=shards, class_names=class_names, bands=bands, **content)
    if manifest.schema_version != SCHEMA_VERSION:
        raise ValueError(f"schema version {manifest.schema_version}, this code reads {SCHEMA_VERSION}")
    unknown = [name for name in manifest.band_names if name not in BANDS]
    if unknown:
        raise ValueError(f"unknown bands {unknown}")
    wrong = [shard.name for shard in shards if os.path.basename(shard.name) != shard.name]
    if wrong:
        raise ValueError(f"shards {wrong} are not in this folder")
    return manifest
