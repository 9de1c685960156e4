"""Vision Transformer: a transformer encoder over the patches of an image, each a token with a position.

Sources: Dosovitskiy et al., https://arxiv.org/abs/2010.11929: section 3.1, equations 1 to 4, and appendix B.1 for
dropout; the sizes are those of the benchmark, https://arxiv.org/abs/2111.09451.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.band_stack import RESAMPLING, band_stack
from bigearth_tf.models.checks import check_choices, check_patches, check_ranges

# As in the authors' code (Flax's default).
NORM_EPSILON = 1e-6
# Standard deviation of the authors' initial position embeddings.
POSITION_STDDEV = 0.02

POOLING = ("token", "mean", "flatten")
POSITION_EMBEDDINGS = ("learned", "index")
DROPOUT_PLACES = ("dense_outputs", "attention_weights")


@dataclasses.dataclass(frozen=True)
class Config:
    """An encoder of `depth` layers over patches of `patch_size` x `patch_size` px, each a token of `dim` channels.

    `num_heads` heads have queries, keys and values of `key_dim`; `mlp_dim` is the width between the two dense layers.
    `pooling` computes the features from the tokens: "token" takes a class token placed before the patches, "mean" the
    mean of the patches' tokens (appendix D.3), "flatten" all tokens. NOTE: the class token and its position are one
    vector, since only their sum matters.

    The reference form has the pooling "flatten" and differs in the fields below `resolution_px`. `resampling` is one of
    `RESAMPLING`. `position_embedding` "index" gives patch i the position i times one learned vector. NOTE: these
    positions differ in length only. `dropout_places` "dense_outputs" drops outputs of dense layers and of the
    embedding; "attention_weights" drops weights of attention and outputs of the two dense layers. `gelu_after_mlp` adds
    a gelu after the second of these. `head_units` are dense layers with gelu before the features; `head_dropout` is the
    rate before each of them and after the last.
    """

    patch_size: int = 20
    dim: int = 64
    depth: int = 8
    num_heads: int = 4
    key_dim: int = 64
    mlp_dim: int = 128
    dropout: float = 0.1
    pooling: str = "token"
    resolution_px: int = 120
    resampling: str = "antialiased"
    position_embedding: str = "learned"
    dropout_places: str = "dense_outputs"
    gelu_after_mlp: bool = False
    head_units: tuple[int, ...] = ()
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, pooling=POOLING, resampling=RESAMPLING)
        check_choices(self, position_embedding=POSITION_EMBEDDINGS, dropout_places=DROPOUT_PLACES)
        sizes = ("dim", "depth", "num_heads", "key_dim", "mlp_dim")
        check_ranges(self, **{field: getattr(self, field) >= 1 for field in sizes})
        check_ranges(self, head_units=all(units >= 1 for units in self.head_units))
        check_ranges(self, dropout=0 <= self.dropout < 1, head_dropout=0 <= self.head_dropout < 1)
        check_patches(self)
        if self.pooling == "token" and self.position_embedding == "index":
            raise ValueError('pooling="token" needs position_embedding="learned": the class token is learned with it.')


def reference_form(config: Config) -> Config:
    """Returns the config as the benchmark's code builds it, defects included."""
    return dataclasses.replace(
        config,
        pooling="flatten",
        resampling="bicubic",
        position_embedding="index",
        dropout_places="attention_weights",
        gelu_after_mlp=True,
        head_units=(2048, 1024),
        head_dropout=0.5,
    )


VARIANTS: dict[str, Config] = {
    **{f"vit_{patch_size}": Config(patch_size=patch_size) for patch_size in (6, 12, 20, 30, 40)},
    # NOTE: 12 layers are a guess. The setting of ViTM/20 was not published. It may also be wider (dim=128, key_dim=128,
    # mlp_dim=256) with 8 layers and 4 heads, or with 12 layers and 8 heads. In the reference form these three have 8.1,
    # 14.7 and 19.2 million parameters; the shapes of a checkpoint distinguish them.
    "vitm_20": Config(patch_size=20, depth=12),
}

REFERENCE: dict[str, Config] = {name: reference_form(config) for name, config in VARIANTS.items()}


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features of raw bands: [B, dim], [B, patches x dim] or [B, head_units[-1]]."""
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    x = _embed(_patches(x, config.patch_size), config)
    for number in range(1, config.depth + 1):
        x = _encoder_layer(x, config, f"layer{number}")
    x = _pool(_norm(x, "final_norm"), config.pooling)
    for number, units in enumerate(config.head_units, start=1):
        x = keras.layers.Dropout(config.head_dropout, name=f"head{number}_dropout")(x)
        x = keras.layers.Dense(units, activation="gelu", name=f"head{number}_dense")(x)
    return keras.layers.Dropout(config.head_dropout, name="features")(x)


def _patches(image: Any, patch_size: int) -> Any:
    """Returns [B, T, P x P x C]: patches row by row, within a patch pixels row by row, within a pixel its channels."""
    size_px, num_channels = image.shape[2:]
    side = size_px // patch_size
    x = keras.layers.Reshape((side, patch_size, side, patch_size * num_channels), name="patch_rows")(image)
    x = keras.layers.Permute((1, 3, 2, 4), name="patch_grid")(x)
    return keras.layers.Reshape((side * side, patch_size * patch_size * num_channels), name="patches")(x)


def _embed(patches: Any, config: Config) -> Any:
    """Returns tokens [B, T, dim], or [B, 1 + T, dim] with the class token."""
    if config.position_embedding == "index":
        tokens = keras.layers.Dense(config.dim, name="projection")(patches)
        return keras.layers.Add(name="embedding")([tokens, _index_embedding(patches, config.dim)])
    if config.pooling == "token":
        # A patch of zeros is projected to zero; its row of the bias is the class token with its position.
        patches = keras.layers.ZeroPadding1D((1, 0), name="with_class_token")(patches)
    tokens = keras.layers.EinsumDense(
        "btp,pd->btd",
        (patches.shape[1], config.dim),
        bias_axes="td",
        bias_initializer=keras.initializers.TruncatedNormal(stddev=POSITION_STDDEV),
        name="embedding",
    )(patches)
    rate = config.dropout if config.dropout_places == "dense_outputs" else 0.0
    return keras.layers.Dropout(rate, name="embedding_dropout")(tokens)


def _index_embedding(patches: Any, dim: int) -> Any:
    """Returns [B, T, dim]: the index of each patch, 0 ... T - 1, times one learned vector.

    The patches' values are multiplied by 0. Float32: an index needs up to 9 bits, half precision has 8 or 11.
    """
    num_tokens = patches.shape[1]
    index = keras.layers.GlobalAveragePooling1D("channels_first", dtype="float32", name="one_per_patch")(patches)
    index = keras.layers.Rescaling(0.0, list(range(num_tokens)), dtype="float32", name="patch_index")(index)
    index = keras.layers.Reshape((num_tokens, 1), dtype="float32", name="patch_index_column")(index)
    return keras.layers.Dense(dim, use_bias=False, dtype="float32", name="position_embedding")(index)


def _encoder_layer(x: Any, config: Config, name: str) -> Any:
    """Returns tokens [B, T, dim] after self-attention and two dense layers, each with a norm before and a sum after."""
    on_outputs = config.dropout_places == "dense_outputs"
    branch = _norm(x, f"{name}_norm1")
    branch = keras.layers.MultiHeadAttention(
        config.num_heads, config.key_dim, dropout=0.0 if on_outputs else config.dropout, name=f"{name}_attention"
    )(branch, branch)
    if on_outputs:
        branch = keras.layers.Dropout(config.dropout, name=f"{name}_attention_dropout")(branch)
    x = keras.layers.Add(name=f"{name}_attended")([x, branch])
    branch = _norm(x, f"{name}_norm2")
    for number, units, activation in (
        (1, config.mlp_dim, "gelu"),
        (2, config.dim, "gelu" if config.gelu_after_mlp else "linear"),
    ):
        branch = keras.layers.Dense(units, activation=activation, name=f"{name}_dense{number}")(branch)
        branch = keras.layers.Dropout(config.dropout, name=f"{name}_dropout{number}")(branch)
    return keras.layers.Add(name=f"{name}_out")([x, branch])


def _pool(tokens: Any, pooling: str) -> Any:
    """Returns the features [B, F] of tokens [B, T, dim]."""
    if pooling == "mean":
        return keras.layers.GlobalAveragePooling1D(name="mean_token")(tokens)
    if pooling == "token":
        tokens = keras.layers.Cropping1D((0, tokens.shape[1] - 1), name="class_token")(tokens)
    return keras.layers.Flatten(name="flat")(tokens)


def _norm(x: Any, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=NORM_EPSILON, name=name)(x)
