"""What does a folder of shards hold? The manifest beside them says it, and is believed only when the files agree.

Band order, class order and counts travel in it: no configuration repeats them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from bigearth_tf.data.bands import Band, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runtime.files import write_text_atomically

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
# "bigearth_tf" is that of example_schema.py, the others those of published_schema.py; record_formats.py reads each.
RECORD_FORMATS = ("bigearth_tf", "published_s2", "published_mm")
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

    `bands` are rows as stored, in the order of the records; their mean and std may be None. `class_names` give label
    indices their meaning. `attributes` name further texts that a record may hold,
    such as "country". `compression` is "" or "GZIP". `record_format` says what the bytes of a record are, one of
    `RECORD_FORMATS`. `exclusions` counts, by reason, the patches of the source that were left out on purpose;
    `problems` are the broken ones that were tolerated. `options` are those that decide the bytes. `statistics` says
    over which `split` of how many records (`num_records`) the mean and std of the bands were worked out; it is empty
    while they are those that came with the bands.
    """

    schema_version: int
    dataset: str
    source: str
    licence: str
    label_kind: LabelKind
    class_names: tuple[str, ...]
    bands: tuple[Band, ...]
    attributes: tuple[str, ...]
    compression: str
    record_format: str
    shards: tuple[Shard, ...]
    exclusions: dict[str, int]
    problems: tuple[dict[str, str], ...]
    options: dict[str, Any]
    versions: dict[str, str]
    statistics: dict[str, Any] = dataclasses.field(default_factory=dict)

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

    def summary(self) -> str:
        """Returns a line a split, a reason for leaving patches out, and the broken patches, for people."""
        lines = [
            f"{split}: {self.num_records(split)} records in {len(self.split_shards(split))} shards"
            for split in self.splits
        ]
        lines += [f"left out, {reason}: {count}" for reason, count in self.exclusions.items()]
        lines += [f"broken and tolerated: {len(self.problems)}"] if self.problems else []
        return "\n".join(lines)

    def select_bands(self, names: str) -> tuple[Band, ...]:
        """Returns the stored rows of a band set or of band names.

        Raises:
            ValueError: A band is not stored, is the same everywhere, or has no mean and standard deviation yet.
        """
        bands = get_bands(names, {band.name: band for band in self.bands})
        constant = [band.name for band in bands if band.std == 0]
        if constant:
            raise ValueError(
                f"Band {', '.join(constant)} of {self.dataset} is the same everywhere, its standard deviation is 0: "
                "there is nothing to learn from it. Name the other bands."
            )
        unknown = [band.name for band in bands if band.mean is None or band.std is None]
        if unknown:
            raise ValueError(
                f"Band {', '.join(unknown)} of {self.dataset} has no mean and standard deviation yet: "
                "`python -m tfrecord_tools.band_stats --write` works them out."
            )
        return bands


def write_manifest(manifest: Manifest, folder: str | os.PathLike) -> None:
    """Writes the manifest into the folder of its shards, whole or not at all."""
    write_text_atomically(
        Path(folder) / MANIFEST_NAME, json.dumps(dataclasses.asdict(manifest), indent=1, ensure_ascii=False) + "\n"
    )


def manifest_digest(manifest: Manifest) -> str:
    """Returns a hash that tells data sets apart: of all that the manifest says, and so of all bytes."""
    return hashlib.sha256(json.dumps(dataclasses.asdict(manifest), sort_keys=True).encode()).hexdigest()


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
            "a conversion that was interrupted is finished by running it again. Published TFRecords get one from "
            "`python -m tfrecord_tools.adopt`."
        )
    try:
        manifest = manifest_from_json(json.loads(path.read_text(encoding="utf-8")))
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


def shard_from_json(row: dict[str, Any]) -> Shard:
    """Returns the shard that a row of a file's content stands for.

    Raises:
        TypeError, KeyError: It is not of this version's form.
    """
    return Shard(**{**row, "class_counts": tuple(row["class_counts"])})


def manifest_from_json(content: dict[str, Any]) -> Manifest:
    """Returns the manifest that a file's content stands for.

    Raises:
        ValueError, TypeError, KeyError: It is not of this version's form.
    """
    rows = content.pop("shards")
    shards = tuple(shard_from_json(row) for row in rows)
    bands = tuple(Band(**row) for row in content.pop("bands"))
    sequences = {key: tuple(content.pop(key)) for key in ("class_names", "attributes", "problems")}
    label_kind = LabelKind(content.pop("label_kind"))
    manifest = Manifest(shards=shards, bands=bands, label_kind=label_kind, **sequences, **content)  # type: ignore[arg-type]
    if manifest.schema_version != SCHEMA_VERSION:
        raise ValueError(f"schema version {manifest.schema_version}, this code reads {SCHEMA_VERSION}")
    if manifest.record_format not in RECORD_FORMATS:
        raise ValueError(f"record format {manifest.record_format!r}, this code reads {', '.join(RECORD_FORMATS)}")
    wrong = [shard.name for shard in shards if os.path.basename(shard.name) != shard.name]
    if wrong:
        raise ValueError(f"shards {wrong} are not in this folder")
    return manifest
