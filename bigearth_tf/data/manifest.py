"""The manifest of a folder of shards: bands, classes, counts and checksums.

`manifest.json` is next to the shards, and reading it checks that the shards match. Band order, class order and counts
are only here: no config repeats them.
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
from bigearth_tf.runtime.files import write_json_atomically

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
# record_schema.py defines "bigearth_tf", int64_schema.py the others.
RECORD_FORMATS = ("bigearth_tf", "published_s2", "published_mm")
RECONVERT = (
    "Run the `python -m tfrecord_tools.convert` command of this data set again with --repair: it writes again what is "
    "missing or damaged, which `python -m tfrecord_tools.verify` lists. Int64 TFRecords: copy the file again from its "
    "origin."
)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file. `class_counts` [K] are the numbers of records that have each class."""

    name: str
    split: str
    num_records: int
    num_bytes: int
    sha256: str
    class_counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of a data set.

    - `class_names`: in the order of label indices.
    - `bands`: rows as stored, in the order of the records; mean and std may be None.
    - `attributes`: names of the text features that a record may have, such as "country".
    - `compression`: "" or "GZIP".
    - `record_format`: the schema of a record, one of `RECORD_FORMATS`.
    - `exclusions`: reason -> number of patches of the source that were left out on purpose.
    - `problems`: the broken patches that were tolerated.
    - `options`: the options of the conversion that decide the bytes.
    - `versions`: the packages that wrote the records.
    - `statistics`: the `split` and its `num_records` over which mean and std of the bands were computed; empty if they
      are the defaults of the band table.
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
        """Returns the number of records of a split that have each class [K]."""
        return tuple(sum(counts) for counts in zip(*(shard.class_counts for shard in self.split_shards(split))))

    def summary(self) -> str:
        """Returns text for people: one line per split, per reason of exclusion, and for the broken patches."""
        lines = [
            f"{split}: {self.num_records(split)} records in {len(self.split_shards(split))} shards"
            for split in self.splits
        ]
        lines += [f"left out, {reason}: {count}" for reason, count in self.exclusions.items()]
        lines += [f"broken and tolerated: {len(self.problems)}"] if self.problems else []
        return "\n".join(lines)

    def select_bands(self, names: str) -> tuple[Band, ...]:
        """Returns the stored rows of a band set or of band names, in the given order.

        Raises:
            ValueError: A band is not stored, is constant, or has no mean and standard deviation yet.
        """
        bands = get_bands(names, {band.name: band for band in self.bands})
        constant = [band.name for band in bands if band.std == 0]
        if constant:
            raise ValueError(
                f"Band {', '.join(constant)} of {self.dataset} is constant (its standard deviation is 0): "
                "a model cannot learn from it. Name the other bands."
            )
        unknown = [band.name for band in bands if band.mean is None or band.std is None]
        if unknown:
            raise ValueError(
                f"Band {', '.join(unknown)} of {self.dataset} has no mean and standard deviation yet: "
                "`python -m tfrecord_tools.band_stats --write` computes them."
            )
        return bands


def make_plain_manifest(**fields: Any) -> Manifest:
    """Returns a manifest of shards that no conversion wrote.

    Args:
        **fields: Fields of `Manifest`. By default, records have our schema and no attributes, nothing is compressed,
            excluded or broken, and no options or versions are noted.
    """
    plain: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "attributes": (),
        "compression": "",
        "record_format": "bigearth_tf",
        "exclusions": {},
        "problems": (),
        "options": {},
        "versions": {},
    }
    return Manifest(**{**plain, **fields})


def write_manifest(manifest: Manifest, folder: str | os.PathLike) -> None:
    """Writes the manifest into the folder of its shards."""
    write_json_atomically(Path(folder) / MANIFEST_NAME, dataclasses.asdict(manifest))


def manifest_digest(manifest: Manifest) -> str:
    """Returns a hash of the manifest, checksums included, and so of all bytes of the data set."""
    return hashlib.sha256(json.dumps(dataclasses.asdict(manifest), sort_keys=True).encode()).hexdigest()


def read_manifest(folder: str | os.PathLike, *, check_shards: bool = True) -> Manifest:
    """Returns the manifest of a folder after comparing the shards' names and sizes with it.

    Args:
        folder: The folder of the shards.
        check_shards: Whether to compare; without, shards may be missing or damaged.

    Raises:
        FileNotFoundError: The folder has no manifest, or a shard is missing.
        ValueError: The manifest is not one that this code reads, or a shard has another size.
    """
    path = Path(folder) / MANIFEST_NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no manifest. Name a folder that `python -m tfrecord_tools.convert` has finished; "
            "run an interrupted conversion again to finish it. For int64 TFRecords of BigEarthNet-19, "
            "`python -m tfrecord_tools.adopt` writes the manifest."
        )
    try:
        manifest = manifest_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a manifest that this version reads ({error!r}). {RECONVERT}") from error
    for shard in manifest.shards if check_shards else ():
        file = path.with_name(shard.name)
        if not file.exists():
            raise FileNotFoundError(f"{file}: the manifest names this shard, but it is missing. {RECONVERT}")
        if file.stat().st_size != shard.num_bytes:
            raise ValueError(
                f"{file}: has {file.stat().st_size} bytes, the manifest says {shard.num_bytes}. {RECONVERT}"
            )
    return manifest


def shard_from_json(row: dict[str, Any]) -> Shard:
    """Returns the shard of a JSON object.

    Raises:
        TypeError, KeyError: This version does not read the object.
    """
    return Shard(**{**row, "class_counts": tuple(row["class_counts"])})


def manifest_from_json(content: dict[str, Any]) -> Manifest:
    """Returns the manifest of a JSON object, and removes keys from that object.

    Raises:
        ValueError, TypeError, KeyError: This version does not read the object.
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
