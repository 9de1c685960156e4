"""The table of predictions of many patches: a folder of Parquet files, each of a fixed number of inputs.

Each part is written atomically, together with the problems of its inputs (in the metadata of its schema), so that the
parts alone say what is done. `pandas.read_parquet(folder)` reads all parts as one table, in the order of the inputs.
Its columns are those of an evaluation (evaluation/prediction_table.py) and three more:

- `patch_id`, then the attributes of the inputs, such as `country` (string, empty where an input lacks it);
- `no_data`: the share of pixels without data (float32, 0 ... 1); `remark`: what should be checked (string);
- `true_labels` and `predicted`: names of classes, separated by "; "; `top_class`: the most probable class;
- for each class of the model in its order, `label/<class>` (bool), then `probability/<class>` (float32), then
  `decision/<class>` (bool: predicted).

`true_labels` and `label/<class>` are null where the labels of an input are not known.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.runtime.files import atomic_file
from bigearth_tf.serving.patch_inputs import InputPatch, InputProblem

TABLE_NAME = "predictions.parquet"
_SEPARATOR = "; "
_METADATA_KEY = b"bigearth_tf"


class PredictionParts:
    """The parts of a table in the folder `path`."""

    def __init__(
        self, path: Path, class_names: Sequence[str], label_kind: LabelKind, attributes: Sequence[str]
    ) -> None:
        """Takes the folder, the names of the K classes and the kind of labels, and the names of the attributes."""
        self.path, self.class_names, self.label_kind = path, tuple(class_names), label_kind
        texts = [(name, pyarrow.string()) for name in ("patch_id", *attributes)]
        labels = [(name, pyarrow.string()) for name in ("true_labels", "predicted", "top_class")]
        kinds = {"label": pyarrow.bool_(), "probability": pyarrow.float32(), "decision": pyarrow.bool_()}
        values = [(f"{kind}/{name}", dtype) for kind, dtype in kinds.items() for name in self.class_names]
        self._attributes = tuple(attributes)
        self._schema = pyarrow.schema(
            [*texts, ("no_data", pyarrow.float32()), ("remark", pyarrow.string()), *labels, *values]
        )

    def part_path(self, number: int) -> Path:
        """Returns the path of a part."""
        return self.path / f"part-{number:05d}.parquet"

    def count_done(self) -> int:
        """Returns how many parts are there without a gap."""
        number = 0
        while self.part_path(number).exists():
            number += 1
        return number

    def write(
        self,
        number: int,
        patches: Sequence[InputPatch],
        probabilities: np.ndarray,
        decided: np.ndarray,
        problems: Sequence[InputProblem],
    ) -> None:
        """Writes a part atomically; the same rows give the same bytes.

        Args:
            number: Number of the part, from 0.
            patches: N patches.
            probabilities: float32 [N, K].
            decided: The classes that are predicted, bool [N, K].
            problems: The inputs of this part that were not predicted.
        """
        columns: dict[str, Any] = {"patch_id": [patch.patch_id for patch in patches]}
        columns.update({name: [patch.attributes.get(name, "") for patch in patches] for name in self._attributes})
        columns["no_data"] = np.array([patch.no_data for patch in patches], np.float32)
        columns["remark"] = [patch.remark for patch in patches]
        columns["true_labels"] = [None if patch.labels is None else _SEPARATOR.join(patch.labels) for patch in patches]
        columns["predicted"] = [_SEPARATOR.join(itertools.compress(self.class_names, row)) for row in decided]
        columns["top_class"] = [self.class_names[index] for index in np.argmax(probabilities, axis=1)]
        for index, name in enumerate(self.class_names):
            columns[f"label/{name}"] = [None if patch.labels is None else name in patch.labels for patch in patches]
            columns[f"probability/{name}"] = probabilities[:, index]
            columns[f"decision/{name}"] = decided[:, index]
        note = {
            "class_names": self.class_names,
            "label_kind": self.label_kind,
            "problems": [[problem.name, problem.problem] for problem in problems],
        }
        metadata = {_METADATA_KEY: json.dumps(note, ensure_ascii=False).encode()}
        columns = {name: columns[name] for name in self._schema.names}
        table = pyarrow.table(columns, schema=self._schema).replace_schema_metadata(metadata)
        with atomic_file(self.part_path(number)) as temporary:
            parquet.write_table(table, temporary, compression="zstd")

    def read_rows(self) -> Iterator[Mapping[str, Any]]:
        """Yields the rows of all parts in order, as column -> value."""
        for number in range(self.count_done()):
            yield from parquet.read_table(self.part_path(number)).to_pylist()

    def read_problems(self) -> Iterator[InputProblem]:
        """Yields the problems of all parts in order."""
        for number in range(self.count_done()):
            metadata = parquet.read_schema(self.part_path(number)).metadata
            for name, problem in json.loads(metadata[_METADATA_KEY])["problems"]:
                yield InputProblem(name, problem)

    def count_rows(self) -> int:
        """Returns the number of rows of all parts."""
        return sum(parquet.read_metadata(self.part_path(number)).num_rows for number in range(self.count_done()))

    def read_remarks(self) -> Iterator[InputProblem]:
        """Yields the patches with a remark, in order."""
        for number in range(self.count_done()):
            table = parquet.read_table(self.part_path(number), columns=["patch_id", "remark"])
            for row in table.to_pylist():
                if row["remark"]:
                    yield InputProblem(row["patch_id"], row["remark"])

    def write_csv(self, path: Path) -> None:
        """Writes all rows as CSV, atomically; numbers have all digits of float32."""
        with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self._schema.names)
            for row in self.read_rows():
                writer.writerow([_format(row[name]) for name in self._schema.names])


def _format(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(np.float32(value)) if isinstance(value, float) else str(value)
