"""Records of a data set, one split or all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.data.datasets import find_level
from bigearth_tf.data.manifest import Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.serving.model_inputs import ModelInputs
from bigearth_tf.serving.patch_inputs import InputItem, InputPatch, InputProblem
from bigearth_tf.serving.units import check_level
from experiments.shared.inputs.options import (
    InputOptions,
    LabelTranslation,
    OpenedInputs,
    check_bands,
    refuse_options,
    share_without_data,
)

_SPLIT = "split"


def open_records(folder: Path, model: ModelInputs, options: InputOptions) -> OpenedInputs:
    """Returns the records of a folder with a manifest.

    Raises:
        ValueError: The data set does not fit the model, or has no such split.
    """
    refuse_options(options, "Records", ("source", "band_order", "dn_offset", "no_data"))
    dataset = ShardedDataset.open(folder)
    check_bands(model, dataset.manifest.bands, f"the records in {folder}")
    inputs = _Records(dataset, options.split, model)
    lines = [f"{folder}: {len(inputs)} records of {dataset.manifest.dataset}, split {options.split or 'all'}"]
    if model.dn_bands:
        stated = find_level(dataset.manifest.dataset)
        # Two data sets that are not known may be the same one.
        if stated or dataset.manifest.dataset != model.dataset:
            where = f"data set {dataset.manifest.dataset}"
            lines.append(check_level(model.level, stated, options.level, where))
    lines.append(inputs.labels.line)
    return OpenedInputs(inputs, tuple(line for line in lines if line))


class _Records:
    """The records of some shards as inputs."""

    def __init__(self, dataset: ShardedDataset, split: Optional[str], model: ModelInputs) -> None:
        self._dataset, self._model = dataset, model
        self._shards = dataset.shards(split)
        self.labels = LabelTranslation(dataset.class_names, model.class_names)
        known = dataset.manifest.attributes
        self.attributes = (*known, *(() if _SPLIT in known else (_SPLIT,)), *self.labels.attributes)
        self.identity: dict[str, Any] = {"kind": "records", "manifest_sha256": dataset.digest(), "split": split}

    def __len__(self) -> int:
        return sum(shard.num_records for shard in self._shards)

    def read(self, start: int = 0) -> Iterator[InputItem]:
        """Yields one item for each record, from number `start` on."""
        for shard in self._shards:
            if start < shard.num_records:
                yield from self._read_shard(shard, start)
            start = max(0, start - shard.num_records)

    def _read_shard(self, shard: Shard, start: int) -> Iterator[InputItem]:
        """Yields the records of a shard; after one that is broken, none can be read."""
        # Loads TensorFlow, which the checks before the work do not need.
        from tfrecord_tools.records.stored_records import read_records

        number = 0
        try:
            for number, record in enumerate(read_records(self._dataset, shard), start=1):
                if number <= start:
                    continue
                names = tuple(self._dataset.class_names[index] for index in record.label_indices)
                labels, others = self.labels.translate(names)
                bands = {band.name: record.bands[band.name] for band in self._model.bands}
                attributes = {_SPLIT: shard.split, **record.attributes, **others}
                yield InputPatch(record.patch_id, bands, labels, attributes, share_without_data(bands, self._model))
                if number == shard.num_records:
                    return
            problem = f"{shard.name}: has {number} records, the manifest says {shard.num_records}"
        except ValueError as error:
            problem = str(error)
        for missing in range(max(number, start), shard.num_records):
            yield InputProblem(f"{shard.name}: record {missing}", problem)
