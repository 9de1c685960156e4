"""Configs of WideResNets and of EfficientNets with attention, read from the layers of a checkpoint.

Both are flat lists of layers. The config follows from the stem's kernel, the number and widths of the convolutions, and
the layers of the attention.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from bigearth_tf.checkpoint_import.shapes import check_stem_channels, find_shortest_factor, require
from bigearth_tf.checkpoint_import.weights import Layer
from bigearth_tf.layers.squeeze_excite import REDUCTION
from bigearth_tf.models.families import efficientnet, wide_resnet

# Family -> depths and width of its unscaled networks. WideResNets before October 2021 had depth 16: no depth factor
# of the later code turns its depth 10 into the 2 blocks of depth 16.
_UNSCALED = ((wide_resnet.Config, (10, 16), 2.0), (efficientnet.Config, (1.0,), 1.0))


def is_unscaled(config: Any) -> bool:
    """Returns whether a config is that of the unscaled network, which has 60 px.

    NOTE: a network scaled in resolution only has the same config.
    """
    return any(
        isinstance(config, family) and config.depth in depths and config.width == width
        for family, depths, width in _UNSCALED
    )


def read_wide_resnet(layers: Sequence[Layer]) -> tuple[wide_resnet.Config, int]:
    """Returns the config of a WideResNet and the input channels of its stem.

    Raises:
        MismatchError: The layers are not those of one.
    """
    stem, *body, head = layers
    require(not stem.is_nested, "an inner model before the head")
    require(stem.kernel[:2] == (3, 3) and stem.kernel[3:] == (wide_resnet.STEM_CHANNELS,) and "bias" not in stem.shapes,
            f"the first kernel is {list(stem.kernel)}, not 3 x 3 to 16 channels without bias")  # fmt: skip
    num_channels = check_stem_channels(stem.kernel[2])
    kernels = [layer.kernel for layer in body if len(layer.kernel) == 4 and "bias" not in layer.shapes]
    convolutions = [kernel for kernel in kernels if kernel[:2] == (3, 3)]
    shortcuts = [kernel for kernel in kernels if kernel[:2] == (1, 1)]
    stages = len(wide_resnet.STAGES)
    require(len(shortcuts) == stages, f"{len(shortcuts)} shortcuts of 1 x 1, not {stages}")
    require(convolutions and len(convolutions) % (2 * stages) == 0,
            f"{len(convolutions)} kernels of 3 x 3, not a multiple of {2 * stages}")  # fmt: skip
    is_ghost = 2 * convolutions[-1][3] == head.kernel[0]
    channels = [kernel[3] * (2 if is_ghost else 1) for kernel in shortcuts]
    require(channels[-1] == head.kernel[0], f"{channels[-1]} channels of the last stage, {head.kernel[0]} features")
    config = wide_resnet.Config(
        depth=6 * (len(convolutions) // (2 * stages)) + 4,
        width=_find_width([base for base, _ in wide_resnet.STAGES], channels, wide_resnet.round_to_4),
        attention=_find_attention(body, sum(layer.kernel[:2] == (1, 1) and "bias" in layer.shapes for layer in body)),
        ghost="depthwise" if is_ghost else "none",
    )
    return wide_resnet.reference_form(config), num_channels


def is_same_wide_resnet(one: wide_resnet.Config, other: wide_resnet.Config) -> bool:
    """Returns whether two configs have the same rounded widths, and the same other fields except the resolution."""
    widths = [
        [wide_resnet.round_to_4(base * config.width) for base, _ in wide_resnet.STAGES] for config in (one, other)
    ]
    return widths[0] == widths[1] and one == dataclasses.replace(
        other, width=one.width, resolution_px=one.resolution_px
    )


def read_efficientnet(layers: Sequence[Layer]) -> tuple[efficientnet.Config, int]:
    """Returns the config of an EfficientNet with attention and the input channels of its stem.

    Raises:
        MismatchError: The layers are not those of one.
    """
    stem, *body, head = layers
    require(not stem.is_nested, "an inner model before the head")
    require(stem.kernel[:2] == (3, 3) and "bias" in stem.shapes,
            f"the first kernel is {list(stem.kernel)}, not 3 x 3 with bias")  # fmt: skip
    num_channels = check_stem_channels(stem.kernel[2])
    depthwise = [layer.shapes["depthwise_kernel"] for layer in body if "depthwise_kernel" in layer.shapes]
    require(depthwise, "no depthwise kernel")
    pointwise = [layer for layer in body if layer.kernel[:2] == (1, 1)]
    # A block has an expansion and a projection, with Coordinate Attention three more; the top has one.
    per_block, remainder = divmod(len(pointwise) - 1, len(depthwise))
    require(per_block in (2, 5) and not remainder,
            f"{len(pointwise)} kernels of 1 x 1 for {len(depthwise)} depthwise ones")  # fmt: skip
    inputs = [layer.kernel[2] for layer in pointwise[::per_block]]
    stages = [channels for channels, _ in itertools.groupby(inputs[1:])]
    bases = [efficientnet.STEM_CHANNELS, *(row[1] for row in efficientnet.STAGES), efficientnet.TOP_CHANNELS]
    require(len(stages) == len(efficientnet.STAGES),
            f"stages of {stages} channels, not {len(efficientnet.STAGES)} stages")  # fmt: skip
    width = _find_width(bases, [stem.kernel[3], *stages, head.kernel[0]], efficientnet.round_to_8)
    config = efficientnet.Config(
        depth=_find_depth(width, [(kernel[0], kernel[2]) for kernel in depthwise]),
        width=width,
        attention=_find_attention(body, per_block - 2),
        ghost="none" if "bias" in pointwise[0].shapes else "depthwise",
    )
    return efficientnet.reference_form(config), num_channels


def is_same_efficientnet(one: efficientnet.Config, other: efficientnet.Config) -> bool:
    """Returns whether two configs have the same blocks and widths, and the same other fields except the resolution."""

    def shapes(config: efficientnet.Config) -> list[Any]:
        ends = [efficientnet.STEM_CHANNELS, efficientnet.TOP_CHANNELS]
        return [
            efficientnet.list_blocks(config),
            *(efficientnet.round_to_8(channels * config.width) for channels in ends),
        ]

    same_size = dataclasses.replace(other, depth=one.depth, width=one.width, resolution_px=one.resolution_px)
    return one == same_size and shapes(one) == shapes(other)


def _find_width(bases: Sequence[int], channels: Sequence[int], rounding: Callable[[float], int]) -> float:
    """Returns the shortest factor that turns `bases` into `channels`; the last, largest ones give its range."""
    rows = list(zip(bases, channels))
    return find_shortest_factor(
        (channels[-1] - 8) / bases[-1],
        (channels[-1] + 8) / bases[-1],
        lambda width: all(rounding(base * width) == found for base, found in rows),
        f"width turns {list(bases)} channels into {list(channels)}",
    )


def _find_depth(width: float, kernels: list[tuple[int, int]]) -> float:
    """Returns the shortest factor of the depth that gives these depthwise kernels, each (side, channels)."""
    stages = efficientnet.STAGES
    blocks = sum(row[2] for row in stages)
    return find_shortest_factor(
        (len(kernels) - len(stages)) / blocks,  # Each stage is rounded up to a whole block.
        len(kernels) / blocks,
        lambda depth: _depthwise_kernels(depth, width) == kernels,
        f"depth gives {len(kernels)} depthwise kernels of these sides and channels",
    )


def _depthwise_kernels(depth: float, width: float) -> list[tuple[int, int]]:
    """Returns the side and the channels of each depthwise kernel of an EfficientNet."""
    rows = efficientnet.list_blocks(efficientnet.Config(depth=depth, width=width))
    inputs = [efficientnet.round_to_8(efficientnet.STEM_CHANNELS * width), *(block.channels for block in rows)]
    return [(block.kernel, channels * block.expansion) for block, channels in zip(rows, inputs)]


def _find_attention(body: Sequence[Layer], extra_pointwise: int) -> str:
    """Returns the attention of the blocks; `extra_pointwise` counts 1 x 1 convolutions outside the blocks."""
    dense = [layer.kernel for layer in body if len(layer.kernel) == 2]
    if any(len(layer.kernel) == 3 for layer in body):
        return "eca"
    if extra_pointwise:
        return "coordinate"
    if not dense:
        return "none"
    name = "cbam" if any(layer.kernel == (7, 7, 2, 1) for layer in body) else "se"
    num_channels, squeezed = dense[0]
    if name == "se" and squeezed == num_channels // 2:
        return "se_half_published"
    require(squeezed == max(1, num_channels // REDUCTION), f"{name} squeezes {num_channels} channels to {squeezed}")
    return name
