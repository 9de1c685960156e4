"""MLP-Mixer: two small networks that mix the patches of an image, one across patches and one across channels.

Sources: Tolstikhin et al., https://arxiv.org/abs/2105.01601, section 2 and figure 1; the sizes are those of the
benchmark, https://arxiv.org/abs/2111.09451.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.band_stack import RESAMPLING, band_stack
from bigearth_tf.models.checks import check_choices, check_patches, check_ranges

# What the norms of a block normalize over -> the axis of [B, tokens, channels].
NORM_AXES = {"channels": -1, "tokens": 1}


@dataclasses.dataclass(frozen=True)
class Config:
    """A Mixer of `depth` blocks over patches of `patch_size` x `patch_size` px, each a token of `dim` channels.

    `tokens_dim` is the width of the network that mixes the tokens, `channels_dim` the width of the network that mixes
    the channels. `norm_epsilon` is that of the authors' code (Flax's default).

    The reference form differs in the fields below `resolution_px`. `norm_over` "tokens" normalizes each channel over
    its tokens, with one scale per token; "channels" normalizes each token over its channels, with one scale per
    channel. NOTE: the benchmark's code has the wrong axis. `norm_before_pooling` False takes the mean over tokens
    before the last norm, not after it.
    """

    patch_size: int = 12
    dim: int = 128
    depth: int = 4
    tokens_dim: int = 64
    channels_dim: int = 200
    resolution_px: int = 120
    resampling: str = "antialiased"
    norm_over: str = "channels"
    norm_epsilon: float = 1e-6
    norm_before_pooling: bool = True

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, resampling=RESAMPLING, norm_over=NORM_AXES)
        fields = ("dim", "depth", "tokens_dim", "channels_dim")
        check_ranges(self, **{field: getattr(self, field) >= 1 for field in fields})
        check_patches(self)


def reference_form(config: Config) -> Config:
    """Returns the config as the benchmark's code builds it, defects included."""
    return dataclasses.replace(
        config, resampling="bicubic", norm_over="tokens", norm_epsilon=1e-3, norm_before_pooling=False
    )


VARIANTS: dict[str, Config] = {
    "mlp_mixer": Config(),
    "mlp_mixer_tiny": Config(depth=2, dim=64, tokens_dim=64, channels_dim=64),
}

REFERENCE: dict[str, Config] = {name: reference_form(config) for name, config in VARIANTS.items()}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, dim] of raw bands."""
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    x = keras.layers.Conv2D(config.dim, config.patch_size, config.patch_size, name="projector")(x)
    x = keras.layers.Reshape((x.shape[1] * x.shape[2], config.dim), name="tokens")(x)
    for number in range(1, config.depth + 1):
        x = _mixer_block(x, config, f"block{number}")
    epsilon = config.norm_epsilon
    if config.norm_before_pooling:
        x = keras.layers.LayerNormalization(epsilon=epsilon, name="final_norm")(x)
        return keras.layers.GlobalAveragePooling1D(name="features")(x)
    x = keras.layers.GlobalAveragePooling1D(name="mean_token")(x)
    return keras.layers.LayerNormalization(epsilon=epsilon, name="features")(x)


def _mixer_block(x: Any, config: Config, name: str) -> Any:
    """Returns tokens [B, T, dim] after mixing across tokens, then across channels, each with a residual sum."""
    num_tokens = x.shape[1]
    branch = _norm(x, config, f"{name}_norm1")
    branch = keras.layers.Permute((2, 1), name=f"{name}_channels_first")(branch)
    branch = _mlp(branch, config.tokens_dim, num_tokens, f"{name}_token_mixer")
    branch = keras.layers.Permute((2, 1), name=f"{name}_channels_last")(branch)
    x = keras.layers.Add(name=f"{name}_tokens_mixed")([x, branch])
    branch = _norm(x, config, f"{name}_norm2")
    branch = _mlp(branch, config.channels_dim, config.dim, f"{name}_channel_mixer")
    return keras.layers.Add(name=f"{name}_channels_mixed")([x, branch])


def _norm(x: Any, config: Config, name: str) -> Any:
    axis = NORM_AXES[config.norm_over]
    return keras.layers.LayerNormalization(axis=axis, epsilon=config.norm_epsilon, name=name)(x)


def _mlp(x: Any, hidden: int, units: int, name: str) -> Any:
    """Returns [..., units]: a dense layer, the exact gelu, a dense layer."""
    x = keras.layers.Dense(hidden, activation="gelu", name=f"{name}_dense1")(x)
    return keras.layers.Dense(units, name=f"{name}_dense2")(x)
