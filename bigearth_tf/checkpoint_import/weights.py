"""Which layers does a published checkpoint hold, and which weight of ours is each of their tensors?

A layer is what owns variables: a kernel and its bias, say. Its signature is the names and shapes of these. Among layers
of one signature, those of a file and those of our model stand in the same order; across signatures they need not,
because the published code counts layers by depth in its graph, and an attention of other operations shifts a branch
against its shortcut.
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
# What a checkpoint of training holds beside the model.
_KNOWN_LEFTOVERS = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|save_counter/.*|optimizer/.*|model/.*/\.OPTIMIZER_SLOT/optimizer/\w+/.*"
)
# The order in which the published code's own layers use what they own.
_PARTS = ("projection", "position_embedding", "_query_dense", "_key_dense", "_value_dense", "_output_dense",
          "norm1", "token_mixer", "norm2", "channel_mixer", "dense1", "dense2")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Layer:
    """What owns variables in a file: `path` without "model/", `shapes` by variable, `is_nested` in an inner model."""

    path: str
    shapes: dict[str, tuple[int, ...]]
    is_nested: bool

    @property
    def signature(self) -> Signature:
        """Names and shapes of the variables."""
        return tuple(sorted(self.shapes.items()))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Shape of the kernel, () where there is none."""
        return self.shapes.get("kernel", ())

    @property
    def part(self) -> str:
        """Name of the part of a layer that this is, "" for one of Keras."""
        return "" if "layer_with_weights" in self.path.rpartition("/")[2] else self.path.rpartition("/")[2]


def read_layers(prefix: Path) -> list[Layer]:
    """Returns the layers of a published checkpoint in the order of its graph.

    Raises:
        ValueError: The index is damaged, or a key is neither of the model nor of its training.
    """
    return layers_of_keys(open_reader(prefix).get_variable_to_shape_map(), str(prefix))


def layers_of_keys(shape_of_key: Mapping[str, Sequence[int]], named: str) -> list[Layer]:
    """Returns what `read_layers` does of keys and their shapes; `named` is what an error names."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    unknown = []
    for key, shape in shape_of_key.items():
        found = _LAYER_KEY.fullmatch(key)
        if found:
            shapes[key[len("model/") : -len(_END)].rpartition("/")[0]][found.group(3)] = tuple(shape)
        elif not _KNOWN_LEFTOVERS.fullmatch(key):
            unknown.append(key)
    if unknown or not shapes:
        raise ValueError(
            f"{named}: not a checkpoint of the published code. {len(shapes)} layers have keys such as its "
            f"model/layer_with_weights-0/kernel; neither of a layer nor of training are: "
            f"{', '.join(sorted(unknown)[:10]) or 'none'}{' ...' if len(unknown) > 10 else ''}."
        )
    return [Layer(path, shapes[path], path.count("layer_with_weights") > 1) for path in sorted(shapes, key=_position)]


def _position(path: str) -> list[tuple[int, str]]:
    """Returns what a path is sorted by: numbers of layers, then the order of a layer's parts."""
    position = []
    for part in path.split("/"):
        number = part.rpartition("-")[2]
        if number.isdigit():
            position.append((int(number), ""))
        else:
            position.append((_PARTS.index(part) if part in _PARTS else len(_PARTS), part))
    return position


def load_weights(model: keras.Model, layers: Sequence[Layer], prefix: Path) -> None:
    """Sets every weight of a model to that of a checkpoint, with nothing left over on either side.

    Raises:
        ValueError: The layers of the two differ, or the data file is damaged, or holds a weight that is not finite.
    """
    ours = list(_layers_of(model))
    check_match(ours, layers, prefix)
    waiting: dict[Signature, deque[Layer]] = defaultdict(deque)
    for layer in layers:
        waiting[layer.signature].append(layer)
    reader = open_reader(prefix)
    for variables in ours:
        layer = waiting[_signature(variables)].popleft()
        for leaf, variable in variables.items():
            key = f"model/{layer.path}/{leaf}{_END}"
            value = np.asarray(read_tensor(reader, prefix, key))
            if not np.isfinite(value).all():
                raise ValueError(f"{prefix}: {key} holds values that are not finite; no model can be made of them.")
            variable.assign(value)  # NOTE: the published heads are float64; rounded to the float32 of ours.


def check_match(ours: Sequence[dict[str, Any]], layers: Sequence[Layer], prefix: Path) -> None:
    """Raises ValueError that lists what matched and what did not, where signatures are not the same on both sides."""
    there, here = Counter(layer.signature for layer in layers), Counter(map(_signature, ours))
    if there == here:
        return
    matched = sum((there & here).values())
    raise ValueError(
        f"{prefix}: {matched} of its {len(layers)} layers match the model built from its shapes, and "
        f"{matched} of the model's {len(ours)}.\nIn the file alone: {_listed(there - here)}\n"
        f"In the model alone: {_listed(here - there)}"
    )


def _listed(signatures: Counter[Signature]) -> str:
    rows = [
        f"{count} x " + ", ".join(f"{leaf} {list(shape)}" for leaf, shape in signature)
        for signature, count in sorted(signatures.items())
    ]
    return "; ".join(rows) or "nothing"


def _layers_of(model: keras.Model) -> Iterator[dict[str, Any]]:
    """Yields the variables by name of whatever owns some, inner models in their place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers_of(layer)
            continue
        owners: dict[str, dict[str, Any]] = defaultdict(dict)
        for variable in layer.weights:
            # Keras 3 has a path; the name of Keras 2 is one, ending in ":0".
            owner, _, leaf = getattr(variable, "path", variable.name).partition(":")[0].rpartition("/")
            owners[owner][leaf] = variable
        yield from owners.values()


def _signature(variables: dict[str, Any]) -> Signature:
    return tuple(sorted((leaf, tuple(variable.shape)) for leaf, variable in variables.items()))
