"""Which WideResNet, or which EfficientNet with attention, has these layers? Its config in the published form.

Both are flat. What decides: the stem's kernel, the number and widths of the convolutions, and those of the attention.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from bigearth_tf.checkpoint_import.shapes import need, roundest, stem_channels
from bigearth_tf.checkpoint_import.weights import Layer
from bigearth_tf.layers.squeeze_excite import REDUCTION
from bigearth_tf.models.families import efficientnet, wide_resnet

# Depth and width of the unscaled networks. WideResNets of before October 2021 had depth 16: no depth factor of the
# later code makes the 2 blocks of that of its 10.
_BASES = ((wide_resnet.Config, (10, 16), 2.0), (efficientnet.Config, (1.0,), 1.0))


def is_base_size(config: Any) -> bool:
    """Returns whether a config is that of the unscaled network, which saw 60 px.

    NOTE: one scaled in resolution alone would look the same.
    """
    return any(
        isinstance(config, family) and config.depth in depths and config.width == width
        for family, depths, width in _BASES
    )


def read_wide_resnet(layers: Sequence[Layer]) -> tuple[wide_resnet.Config, int]:
    """Returns the config of a WideResNet and the channels of its stem.

    Raises:
        MismatchError: The layers are not those of one.
    """
    stem, *body, head = layers
    need(not stem.is_nested, "an inner model before the head")
    need(stem.kernel[:2] == (3, 3) and stem.kernel[3:] == (wide_resnet.STEM_CHANNELS,) and "bias" not in stem.shapes,
         f"the first kernel is {list(stem.kernel)}, not 3 x 3 to 16 channels without bias")  # fmt: skip
    num_channels = stem_channels(stem.kernel[2])
    plain = [layer.kernel for layer in body if len(layer.kernel) == 4 and "bias" not in layer.shapes]
    three = [kernel for kernel in plain if kernel[:2] == (3, 3)]
    shortcuts = [kernel for kernel in plain if kernel[:2] == (1, 1)]
    stages = len(wide_resnet.STAGES)
    need(len(shortcuts) == stages, f"{len(shortcuts)} shortcuts of 1 x 1, not {stages}")
    need(three and len(three) % (2 * stages) == 0, f"{len(three)} kernels of 3 x 3, not {2 * stages} to a block each")
    is_ghost = 2 * three[-1][3] == head.kernel[0]
    channels = [kernel[3] * (2 if is_ghost else 1) for kernel in shortcuts]
    need(channels[-1] == head.kernel[0], f"{channels[-1]} channels of the last stage, {head.kernel[0]} features")
    config = wide_resnet.Config(
        depth=6 * (len(three) // (2 * stages)) + 4,
        width=_width([base for base, _ in wide_resnet.STAGES], channels, wide_resnet.round_to_4),
        attention=_attention(body, sum(layer.kernel[:2] == (1, 1) and "bias" in layer.shapes for layer in body)),
        ghost="depthwise" if is_ghost else "none",
    )
    return wide_resnet.reference_form(config), num_channels


def same_wide_resnet(one: wide_resnet.Config, other: wide_resnet.Config) -> bool:
    """Returns whether two configs have the same layers and fields, whatever their widths before rounding."""
    widths = [
        [wide_resnet.round_to_4(base * config.width) for base, _ in wide_resnet.STAGES] for config in (one, other)
    ]
    alike = dataclasses.replace(other, width=one.width, resolution_px=one.resolution_px)
    return widths[0] == widths[1] and alike == one


def read_efficientnet(layers: Sequence[Layer]) -> tuple[efficientnet.Config, int]:
    """Returns the config of the benchmark's own EfficientNet and the channels of its stem.

    Raises:
        MismatchError: The layers are not those of one.
    """
    stem, *body, head = layers
    need(not stem.is_nested, "an inner model before the head")
    need(stem.kernel[:2] == (3, 3) and "bias" in stem.shapes,
         f"the first kernel is {list(stem.kernel)}, not 3 x 3 with bias")  # fmt: skip
    num_channels = stem_channels(stem.kernel[2])
    depthwise = [layer.shapes["depthwise_kernel"] for layer in body if "depthwise_kernel" in layer.shapes]
    need(depthwise, "no depthwise kernel")
    pointwise = [layer for layer in body if layer.kernel[:2] == (1, 1)]
    # Each block has an expansion and a projection, Coordinate Attention three between these; one more is at the top.
    per_block, left = divmod(len(pointwise) - 1, len(depthwise))
    need(per_block in (2, 5) and not left, f"{len(pointwise)} kernels of 1 x 1 for {len(depthwise)} depthwise ones")
    inputs = [layer.kernel[2] for layer in pointwise[::per_block]]
    stages = [channels for channels, _ in itertools.groupby(inputs[1:])]
    bases = [efficientnet.STEM_CHANNELS, *(row[1] for row in efficientnet.STAGES), efficientnet.TOP_CHANNELS]
    need(len(stages) == len(efficientnet.STAGES), f"stages of {stages} channels, not {len(efficientnet.STAGES)} stages")
    width = _width(bases, [stem.kernel[3], *stages, head.kernel[0]], efficientnet.round_to_8)
    config = efficientnet.Config(
        depth=_depth(width, [(kernel[0], kernel[2]) for kernel in depthwise]),
        width=width,
        attention=_attention(body, per_block - 2),
        ghost="none" if "bias" in pointwise[0].shapes else "depthwise",
    )
    return efficientnet.reference_form(config), num_channels


def same_efficientnet(one: efficientnet.Config, other: efficientnet.Config) -> bool:
    """Returns whether two configs have the same layers and fields, whatever their factors before rounding."""

    def layers(config: efficientnet.Config) -> list[Any]:
        ends = [efficientnet.STEM_CHANNELS, efficientnet.TOP_CHANNELS]
        return [efficientnet.blocks(config), *(efficientnet.round_to_8(channels * config.width) for channels in ends)]

    alike = dataclasses.replace(other, depth=one.depth, width=one.width, resolution_px=one.resolution_px)
    return alike == one and layers(one) == layers(other)


def _width(bases: Sequence[int], channels: Sequence[int], rounding: Callable[[float], int]) -> float:
    """Returns the roundest factor by which bases become channels; the last, largest ones bound it closest."""
    rows = list(zip(bases, channels))
    return roundest(
        (channels[-1] - 8) / bases[-1],
        (channels[-1] + 8) / bases[-1],
        lambda width: all(rounding(base * width) == found for base, found in rows),
        f"width makes {list(channels)} channels of {list(bases)}",
    )


def _depth(width: float, depthwise: list[tuple[int, int]]) -> float:
    """Returns the roundest factor on depth that makes these depthwise kernels, (side, channels) each."""
    stages = efficientnet.STAGES
    blocks = sum(row[2] for row in stages)
    return roundest(
        (len(depthwise) - len(stages)) / blocks,  # Each stage rounds up to a whole block.
        len(depthwise) / blocks,
        lambda depth: _depthwise(depth, width) == depthwise,
        f"depth makes {len(depthwise)} depthwise kernels of these sides and channels",
    )


def _depthwise(depth: float, width: float) -> list[tuple[int, int]]:
    rows = efficientnet.blocks(efficientnet.Config(depth=depth, width=width))
    inputs = [efficientnet.round_to_8(efficientnet.STEM_CHANNELS * width), *(block.channels for block in rows)]
    return [(block.kernel, channels * block.expansion) for block, channels in zip(rows, inputs)]


def _attention(body: Sequence[Layer], pointwise: int) -> str:
    """Returns the attention of the blocks; `pointwise` counts the 1 x 1 convolutions that are no block's own."""
    dense = [layer.kernel for layer in body if len(layer.kernel) == 2]
    if any(len(layer.kernel) == 3 for layer in body):
        return "eca"
    if pointwise:
        return "coordinate"
    if not dense:
        return "none"
    name = "cbam" if any(layer.kernel == (7, 7, 2, 1) for layer in body) else "se"
    (num_channels, squeezed) = dense[0]
    if name == "se" and squeezed == num_channels // 2:
        return "se_half_published"
    need(squeezed == max(1, num_channels // REDUCTION), f"{name} squeezes {num_channels} channels to {squeezed}")
    return name
