"""Cost of a WideResNet or an EfficientNet, computed from its config without building the model.

The result equals `cost.compute_cost` of the built model.
"""

from __future__ import annotations

from collections.abc import Callable

from bigearth_tf.layers import cbam, coordinate_attention, squeeze_excite
from bigearth_tf.layers.eca import eca_kernel_size
from bigearth_tf.models.cost import Cost
from bigearth_tf.models.families import efficientnet, wide_resnet


def estimate_cost(config: wide_resnet.Config | efficientnet.Config, num_bands: int, num_classes: int) -> Cost:
    """Returns the cost of the model of a config, for `num_bands` bands and `num_classes` classes.

    Raises:
        ValueError: The config is of another family.
    """
    if isinstance(config, wide_resnet.Config):
        return _wide_resnet(config, num_bands, num_classes)
    if isinstance(config, efficientnet.Config):
        return _efficientnet(config, num_bands, num_classes)
    raise ValueError(f"Only WideResNets and the zoo's own EfficientNets can be estimated, not {config}.")


def _wide_resnet(config: wide_resnet.Config, num_bands: int, num_classes: int) -> Cost:
    conv = _CONVOLUTION[config.ghost]
    side, channels = config.resolution_px, wide_resnet.STEM_CHANNELS
    cost = _conv(side, 3, num_bands, channels) + _norm(channels)
    for base, stride in wide_resnet.STAGES:
        side, wider = -(-side // stride), wide_resnet.round_to_4(base * config.width)
        cost += conv(side, 1, channels, wider)
        for block in range(config.blocks_per_stage):
            # The norm before a stage's first block belongs to the stem or to the previous stage.
            cost += _norm(channels) if block else Cost()
            cost += conv(side, 3, channels, wider) + _norm(wider) + conv(side, 3, wider, wider)
            cost += _ATTENTION[config.attention](side, wider)
            channels = wider
        cost += _norm(channels)
    return cost + _dense(channels, num_classes)


def _efficientnet(config: efficientnet.Config, num_bands: int, num_classes: int) -> Cost:
    bias = config.conv_bias
    side, channels = -(-config.resolution_px // 2), efficientnet.round_to_8(efficientnet.STEM_CHANNELS * config.width)
    cost = _conv(side, 3, num_bands, channels, bias) + _norm(channels)
    for block in efficientnet.list_blocks(config):
        inner = channels * block.expansion
        if block.expansion > 1 or config.always_expand:
            cost += _pointwise(config, side, channels, inner) + _norm(inner)
        side = -(-side // block.stride)
        cost += _depthwise(side, block.kernel, inner, bias) + _norm(inner) + _ATTENTION[config.attention](side, inner)
        cost += _pointwise(config, side, inner, block.channels) + _norm(block.channels)
        channels = block.channels
    top = efficientnet.round_to_8(efficientnet.TOP_CHANNELS * config.width)
    return cost + _conv(side, 1, channels, top, bias) + _norm(top) + _dense(top, num_classes)


def _pointwise(config: efficientnet.Config, side: int, channels: int, filters: int) -> Cost:
    """Returns the cost of a 1 x 1 convolution; Ghost convolutions have no bias in either form."""
    if config.ghost == "none":
        return _conv(side, 1, channels, filters, config.conv_bias)
    return _CONVOLUTION[config.ghost](side, 1, channels, filters)


def _product(numbers: int, terms: int, weights: int) -> Cost:
    """Returns the cost of a layer with `numbers` outputs, each a sum of `terms` products."""
    return Cost(weights, weights, 2 * numbers * terms, numbers)


def _conv(side: int, kernel: int, channels: int, filters: int, bias: bool = False) -> Cost:
    """Returns the cost of a convolution; `side` is that of the output, here and below."""
    terms = kernel**2 * channels
    return _product(side**2 * filters, terms, (terms + bias) * filters)


def _depthwise(side: int, kernel: int, channels: int, bias: bool = False) -> Cost:
    return _product(side**2 * channels, kernel**2, (kernel**2 + bias) * channels)


def _dense(channels: int, units: int, times: int = 1, bias: bool = True) -> Cost:
    """Returns the cost of a dense layer that is applied `times` times."""
    return _product(times * units, channels, (channels + bias) * units)


def _norm(channels: int) -> Cost:
    """Returns the cost of a batch norm: scale and offset are trained, mean and variance are not."""
    return Cost(4 * channels, 2 * channels)


def _ghost(side: int, kernel: int, channels: int, filters: int) -> Cost:
    return _conv(side, kernel, channels, filters // 2) + _depthwise(side, 3, filters // 2)


def _reference_ghost(side: int, kernel: int, channels: int, filters: int) -> Cost:
    return _conv(side, kernel, channels, filters // 2) + _norm(filters // 2)


def _squeeze_excite(side: int, channels: int, times: int = 1, reduction: int = squeeze_excite.REDUCTION) -> Cost:
    squeezed = max(1, channels // reduction)
    return _dense(channels, squeezed, times) + _dense(squeezed, channels, times)


def _cbam(side: int, channels: int) -> Cost:
    """Returns the cost of two dense layers, applied to means and to maxima, and of a convolution of both maps."""
    return _squeeze_excite(side, channels, times=2, reduction=cbam.REDUCTION) + _conv(side, cbam.KERNEL, 2, 1)


def _coordinate(side: int, channels: int, squeeze_bias: bool = False) -> Cost:
    """Returns the cost of Coordinate Attention, whose 1 x 1 convolutions are dense layers along rows and columns."""
    squeezed = max(coordinate_attention.MIN_CHANNELS, channels // coordinate_attention.REDUCTION)
    gate = _dense(squeezed, channels, times=side)
    return _dense(channels, squeezed, times=2 * side, bias=squeeze_bias) + _norm(squeezed) + gate + gate


def _eca(side: int, channels: int, bias: bool = False) -> Cost:
    size = eca_kernel_size(channels)
    return _product(channels, size, size + bias)


# Rows as in layers/ghost.py (arguments: side, kernel, channels, filters) and layers/attention.py (side, channels).
_CONVOLUTION: dict[str, Callable[[int, int, int, int], Cost]] = {
    "none": _conv,
    "depthwise": _ghost,
    "published": _reference_ghost,
}
_ATTENTION: dict[str, Callable[[int, int], Cost]] = {
    "none": lambda side, channels: Cost(),
    "se": _squeeze_excite,
    "cbam": _cbam,
    "coordinate": _coordinate,
    "eca": _eca,
    "se_published": _squeeze_excite,
    "se_half_published": lambda side, channels: _squeeze_excite(side, channels, reduction=2),
    "coordinate_published": lambda side, channels: _coordinate(side, channels, squeeze_bias=True),
    "eca_published": lambda side, channels: _eca(side, channels, bias=True),
}
