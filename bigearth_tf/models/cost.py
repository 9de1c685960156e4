"""Cost of a built model: its parameters, and for one patch the FLOPs and activations.

FLOPs are 2 x the multiply-adds of convolutions, dense layers, attention and dot products, padding included. Not
counted, as is usual: biases, activation functions, norms, pooling, resampling, sums and element-wise products.
NOTE: a matrix product that a model computes by element-wise layers is therefore not counted, for example that of
queries and position lambdas. Activations are the outputs of the counted layers (as Radosavovic et al.,
https://arxiv.org/abs/2003.13678, section 2, define them for convolutions).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a model or of a part of one; `flops` and `activations` are for one patch. Costs can be added."""

    parameters: int = 0
    trainable_parameters: int = 0
    flops: int = 0
    activations: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Returns the sum of two costs."""
        return Cost(*(mine + theirs for mine, theirs in zip(dataclasses.astuple(self), dataclasses.astuple(other))))


def compute_cost(model: keras.Model) -> Cost:
    """Returns the cost of a functional or sequential model with its nested models; a layer called twice counts twice.

    Raises:
        ValueError: The cost of a layer is unknown, or depends on a size that is undefined in the model.
    """
    products = [product for layer, inputs, output in _calls(model) for product in _products(layer, inputs, output)]
    return Cost(
        parameters=_count(model.weights),
        trainable_parameters=_count(model.trainable_weights),
        flops=sum(2 * numbers * terms for numbers, terms in products),
        activations=sum(numbers for numbers, _ in products),
    )


Shape = tuple[int, ...]
# The number of outputs, and the number of products that are summed in each output.
Product = tuple[int, int]


def _calls(model: keras.Model) -> Iterator[tuple[Any, list[Shape], Shape]]:
    """Yields every call of a layer in a model: the layer, the shapes of its inputs and of its output for one patch."""
    model = getattr(model, "_functional", None) or model  # A sequential model of Keras 3 wraps a functional one.
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(f"{model.name}: the cost of only functional and built sequential models is known.")
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            layer = node.layer if hasattr(node, "layer") else node.operation
            if node.is_input:
                continue
            if isinstance(layer, keras.Model):
                yield from _calls(layer)
                continue
            inputs = node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors
            outputs = node.outputs if isinstance(node.outputs, (list, tuple)) else [node.outputs]
            yield layer, [tuple(tensor.shape[1:]) for tensor in inputs], tuple(outputs[0].shape[1:])


def _products(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    """Returns the sums of products of one call of a layer.

    Raises:
        ValueError: The cost of the layer is unknown, or a size is undefined.
    """
    rule = _RULES.get(type(layer))
    if rule is None:
        if _is_free(layer):
            return []
        raise ValueError(
            f"Layer {layer.name} ({type(layer).__name__}): its cost is unknown. Add it to _RULES of "
            "bigearth_tf/models/cost.py, or to _FREE there if it computes no sums of products."
        )
    if None in output or any(None in shape for shape in inputs):
        raise ValueError(f"Layer {layer.name}: its shapes {inputs} -> {output} are undefined; build it for one size.")
    return rule(layer, inputs, output)


def _convolution(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    # The kernel's shape is [*window, channels / groups, filters].
    return [(math.prod(output), math.prod(layer.kernel.shape[:-1]))]


def _depthwise(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    return [(math.prod(output), math.prod(layer.kernel_size))]


def _dense(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    return [(math.prod(output), inputs[0][-1])]


def _einsum_dense(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    """Sums over every axis of the kernel that is not in the output."""
    operands, result = layer.equation.replace(" ", "").split("->")
    image, kernel = operands.split(",")
    if set(image) - set(kernel) - set(result):
        raise ValueError(f"Layer {layer.name}: {layer.equation} sums its input over an axis that no weight has.")
    sizes = dict(zip(kernel, layer.kernel.shape))
    return [(math.prod(output), math.prod(size for axis, size in sizes.items() if axis not in result))]


def _attention(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    """Projections of queries, keys and values, scores, weighted values, and the projection of the result."""
    config = layer.get_config()
    if any(len(shape) != 2 for shape in (*inputs, output)):
        raise ValueError(f"Layer {layer.name}: attention is known for inputs [B, tokens, channels], not {inputs}.")
    (queries, channels), (keys, value_channels) = inputs[:2]
    key_channels = inputs[2][1] if len(inputs) > 2 else value_channels
    heads, key_dim, value_dim = config["num_heads"], config["key_dim"], config["value_dim"] or config["key_dim"]
    return [
        (queries * heads * key_dim, channels),
        (keys * heads * key_dim, key_channels),
        (keys * heads * value_dim, value_channels),
        (heads * queries * keys, key_dim),
        (heads * queries * value_dim, keys),
        (queries * output[-1], heads * value_dim),
    ]


def _dot(layer: Any, inputs: list[Shape], output: Shape) -> list[Product]:
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    first = inputs[0]
    return [(math.prod(output), first[axis - 1] if axis > 0 else first[axis])]


_RULES: dict[type, Callable[[Any, list[Shape], Shape], list[Product]]] = {
    keras.layers.Conv1D: _convolution,
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv3D: _convolution,
    keras.layers.DepthwiseConv1D: _depthwise,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.Dense: _dense,
    keras.layers.EinsumDense: _einsum_dense,
    keras.layers.MultiHeadAttention: _attention,
    keras.layers.Dot: _dot,
}

# Layers with weights that multiply each input once, or not at all.
_FREE = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.Embedding,
)
# Layers without weights that may compute products.
_UNKNOWN = (keras.layers.Attention, keras.layers.AdditiveAttention, keras.layers.Lambda)
# Element-wise and not public: a layer of ConvNeXt, and operators between tensors in some of keras.applications.
_FREE_NAMES = ("layerscale", "add", "multiply")


def _is_free(layer: Any) -> bool:
    """Returns whether a layer without a rule costs nothing: it is in `_FREE`, or is a Keras layer without weights."""
    if isinstance(layer, _FREE):
        return True
    if type(layer).__module__.split(".")[0] != "keras":
        return False
    name = type(layer).__name__
    is_operator = name == "TFOpLambda" or not isinstance(layer, keras.layers.Layer)  # Of Keras 2, of Keras 3.
    if name == "TFOpLambda":
        name = layer.get_config()["function"].split(".")[-1]
    if is_operator or layer.weights:
        return name.lower() in _FREE_NAMES
    return not isinstance(layer, _UNKNOWN)


def _count(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)
