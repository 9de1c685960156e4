"""Layers of a checkpoint of the benchmark, and the transfer of their weights into a model of the zoo.

A layer here is an owner of variables, for example of a kernel and its bias. Its signature is their names and shapes.
Layers of the same signature have the same order in a file and in our model. Layers of different signatures may not,
because the benchmark's code numbers layers by depth in its graph, and an attention built from other operations shifts a
branch relative to its shortcut.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bigearth_tf.checkpoint_import.files import open_reader, read_tensor

Signature = tuple[tuple[str, tuple[int, ...]], ...]

_END = "/.ATTRIBUTES/VARIABLE_VALUE"
_LAYER_KEY = re.compile(r"model/((?:layer_with_weights-\d+/)+)((?:\w+/)*)(\w+)" + re.escape(_END))
# Keys of a checkpoint that belong to the training, not to the model.
_TRAINING_KEY = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|save_counter/.*|optimizer/.*|model/.*/\.OPTIMIZER_SLOT/optimizer/\w+/.*"
)
# The order in which the custom layers of the benchmark's code use their parts.
_PARTS = ("projection", "position_embedding", "_query_dense", "_key_dense", "_value_dense", "_output_dense",
          "norm1", "token_mixer", "norm2", "channel_mixer", "dense1", "dense2")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Layer:
    """An owner of variables in a checkpoint.

    `path` is its key without "model/", `shapes` is variable name -> shape, `is_nested` is True within an inner model.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]
    is_nested: bool

    @property
    def signature(self) -> Signature:
        """Names and shapes of the variables."""
        return tuple(sorted(self.shapes.items()))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Shape of the kernel, () if there is none."""
        return self.shapes.get("kernel", ())

    @property
    def part(self) -> str:
        """Name within a custom layer, "" for a layer of Keras."""
        return "" if "layer_with_weights" in self.path.rpartition("/")[2] else self.path.rpartition("/")[2]


def read_layers(prefix: Path) -> list[Layer]:
    """Returns the layers of a checkpoint of the benchmark in the order of its graph.

    Raises:
        ValueError: The index is damaged, or a key belongs neither to the model nor to its training.
    """
    return parse_layers(open_reader(prefix).get_variable_to_shape_map(), str(prefix))


def parse_layers(shape_of_key: Mapping[str, Sequence[int]], shown_path: str) -> list[Layer]:
    """Returns the layers of keys and their shapes, as `read_layers` does; `shown_path` is for error messages."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    unknown = []
    for key, shape in shape_of_key.items():
        found = _LAYER_KEY.fullmatch(key)
        if found:
            shapes[key[len("model/") : -len(_END)].rpartition("/")[0]][found.group(3)] = tuple(shape)
        elif not _TRAINING_KEY.fullmatch(key):
            unknown.append(key)
    if unknown or not shapes:
        raise ValueError(
            f"{shown_path}: not a checkpoint of the benchmark's code. {len(shapes)} layers have keys such as its "
            f"model/layer_with_weights-0/kernel. Keys that belong neither to a layer nor to training: "
            f"{', '.join(sorted(unknown)[:10]) or 'none'}{' ...' if len(unknown) > 10 else ''}."
        )
    return [Layer(path, shapes[path], path.count("layer_with_weights") > 1) for path in sorted(shapes, key=_sort_key)]


def _sort_key(path: str) -> list[tuple[int, str]]:
    """Returns the sort key of a path: the numbers of its layers, then the position of the part within a layer."""
    key = []
    for part in path.split("/"):
        number = part.rpartition("-")[2]
        if number.isdigit():
            key.append((int(number), ""))
        else:
            key.append((_PARTS.index(part) if part in _PARTS else len(_PARTS), part))
    return key


def load_weights(model: keras.Model, layers: Sequence[Layer], prefix: Path) -> None:
    """Loads every weight of a checkpoint into a model; each must have a counterpart on the other side.

    Raises:
        ValueError: The layers differ, the data file is damaged, or a weight is not finite.
    """
    ours = list(_iterate_owners(model))
    check_match(ours, layers, prefix)
    unused: dict[Signature, deque[Layer]] = defaultdict(deque)
    for layer in layers:
        unused[layer.signature].append(layer)
    reader = open_reader(prefix)
    for variables in ours:
        layer = unused[_signature(variables)].popleft()
        for leaf, variable in variables.items():
            key = f"model/{layer.path}/{leaf}{_END}"
            value = np.asarray(read_tensor(reader, prefix, key))
            if not np.isfinite(value).all():
                raise ValueError(f"{prefix}: {key} contains values that are not finite; it cannot be imported.")
            variable.assign(value)  # NOTE: the benchmark's heads are float64, ours are float32.


def check_match(ours: Sequence[dict[str, Any]], layers: Sequence[Layer], prefix: Path) -> None:
    """Raises ValueError with a list of the differences if the two sides do not have the same signatures."""
    in_file, in_model = Counter(layer.signature for layer in layers), Counter(map(_signature, ours))
    if in_file == in_model:
        return
    matched = sum((in_file & in_model).values())
    raise ValueError(
        f"{prefix}: {matched} of its {len(layers)} layers match the model built from its shapes, and "
        f"{matched} of the model's {len(ours)}.\nOnly in the file: {_format(in_file - in_model)}\n"
        f"Only in the model: {_format(in_model - in_file)}"
    )


def _format(signatures: Counter[Signature]) -> str:
    rows = [
        f"{count} x " + ", ".join(f"{leaf} {list(shape)}" for leaf, shape in signature)
        for signature, count in sorted(signatures.items())
    ]
    return "; ".join(rows) or "nothing"


def _iterate_owners(model: keras.Model) -> Iterator[dict[str, Any]]:
    """Yields name -> variable of each owner of variables, inner models included, in the order of the layers."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _iterate_owners(layer)
            continue
        owners: dict[str, dict[str, Any]] = defaultdict(dict)
        for variable in layer.weights:
            # Keras 3 has a path; the name of Keras 2 is one, ending in ":0".
            owner, _, leaf = getattr(variable, "path", variable.name).partition(":")[0].rpartition("/")
            owners[owner][leaf] = variable
        yield from owners.values()


def _signature(variables: dict[str, Any]) -> Signature:
    return tuple(sorted((leaf, tuple(variable.shape)) for leaf, variable in variables.items()))
