"""Configs of Vision Transformers and of MLP-Mixers, read from the layers of a checkpoint.

Their shapes determine the side of the image, by the number of patches.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from bigearth_tf.checkpoint_import.shapes import BANDS_BY_STEM_CHANNELS, check_stem_channels, require
from bigearth_tf.checkpoint_import.weights import Layer
from bigearth_tf.models.families import mlp_mixer, vision_transformer


def read_vision_transformer(layers: Sequence[Layer]) -> tuple[vision_transformer.Config, int]:
    """Returns the config of a Vision Transformer and the number of bands of its patches.

    Raises:
        MismatchError: The layers are not those of one.
    """
    parts = _group_by_part(layers)
    require("projection" in parts and "_query_dense" in parts, "no patch projection, or no attention heads")
    values, dim = parts["projection"][0].kernel
    candidates = [(_whole_root(values / channels), channels) for channels in BANDS_BY_STEM_CHANNELS]
    patch_size, num_channels = next(((side, channels) for side, channels in candidates if side), (0, 0))
    allowed = " or ".join(map(str, BANDS_BY_STEM_CHANNELS))
    require(patch_size, f"{values} values a patch are no square of pixels of {allowed} bands")
    depth = len(parts["_query_dense"])
    dense = [layer.kernel for layer in parts[""] if len(layer.kernel) == 2]
    require(len(dense) > 2 * depth + 1, f"{len(dense)} dense layers after {depth} attentions, with no head among them")
    side = _whole_root(dense[2 * depth][0] / dim)
    require(side, f"the head takes {dense[2 * depth][0]} values, no square of patches of {dim}")
    config = vision_transformer.reference_form(vision_transformer.Config())
    return dataclasses.replace(
        config,
        patch_size=patch_size,
        dim=dim,
        depth=depth,
        num_heads=parts["_query_dense"][0].kernel[1],
        key_dim=parts["_query_dense"][0].kernel[2],
        mlp_dim=dense[0][1],
        resolution_px=patch_size * side,
        head_units=tuple(kernel[1] for kernel in dense[2 * depth : -1]),
    ), num_channels


def read_mlp_mixer(layers: Sequence[Layer]) -> tuple[mlp_mixer.Config, int]:
    """Returns the config of an MLP-Mixer and the input channels of its projector.

    Raises:
        MismatchError: The layers are not those of one.
    """
    mixers = {
        name: [layer.kernel for layer in layers if layer.path.endswith(f"/{name}/dense1")]
        for name in ("token_mixer", "channel_mixer")
    }
    require(all(mixers.values()) and len(layers[0].kernel) == 4, "no projector, or no token and channel mixers")
    patch_size, _, channels, dim = layers[0].kernel
    num_tokens, tokens_dim = mixers["token_mixer"][0]
    side = _whole_root(num_tokens)
    require(side, f"{num_tokens} patches are no square")
    config = mlp_mixer.reference_form(mlp_mixer.Config())
    return dataclasses.replace(
        config,
        patch_size=patch_size,
        dim=dim,
        depth=len(mixers["token_mixer"]),
        tokens_dim=tokens_dim,
        channels_dim=mixers["channel_mixer"][0][1],
        resolution_px=patch_size * side,
    ), check_stem_channels(channels)


def _group_by_part(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    parts: dict[str, list[Layer]] = {}
    for layer in layers:
        parts.setdefault(layer.part, []).append(layer)
    return parts


def _whole_root(number: float) -> int:
    """Returns the square root of a number if it is whole, else 0."""
    root = math.isqrt(int(number))
    return root if root * root == number else 0
