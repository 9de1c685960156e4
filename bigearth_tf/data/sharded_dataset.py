"""A folder of TFRecord shards together with its manifest."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from bigearth_tf.data.bands import Band
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Manifest, Shard, manifest_digest, read_manifest
from bigearth_tf.runtime.files import require_utf8


@dataclasses.dataclass(frozen=True)
class ShardedDataset:
    """The shards in `folder`, as `manifest` describes them; `open` also checks that the two agree."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | os.PathLike) -> ShardedDataset:
        """Returns the data set in a folder after comparing the shards' names and sizes with the manifest.

        Raises:
            FileNotFoundError: The folder has no manifest, or a shard is missing.
            ValueError: The path is not UTF-8, this code does not read the manifest, or a shard has another size.
        """
        require_utf8(folder)
        return cls(Path(folder), read_manifest(folder))

    @property
    def label_kind(self) -> LabelKind:
        """The kind of the labels."""
        return self.manifest.label_kind

    @property
    def class_names(self) -> tuple[str, ...]:
        """The manifest's class names, in the order of label indices."""
        return self.manifest.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.manifest.class_names)

    def shards(self, split: str | None = None) -> tuple[Shard, ...]:
        """Returns the shards of a split, sorted by name, or all shards in the order of the manifest.

        Raises:
            ValueError: The data set has no such split.
        """
        return self.manifest.shards if split is None else self.manifest.split_shards(split)

    def shard_path(self, shard: Shard) -> Path:
        """Returns the path of a shard."""
        return self.folder / shard.name

    def num_records(self, split: str) -> int:
        """Returns the number of records of a split.

        Raises:
            ValueError: The data set has no such split.
        """
        return self.manifest.num_records(split)

    def select_bands(self, names: str) -> tuple[Band, ...]:
        """Returns the stored rows of a band set or of band names, as `Manifest.select_bands` does."""
        return self.manifest.select_bands(names)

    def digest(self) -> str:
        """Returns a hash of the manifest, and so of all bytes: it distinguishes data sets."""
        return manifest_digest(self.manifest)
