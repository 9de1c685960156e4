"""Lambda layer, an alternative to attention: each pixel's query is multiplied by a matrix computed from its context.

Source: Bello, LambdaNetworks, ICLR 2021, https://arxiv.org/abs/2102.08602: equations 1 and 2, the multi-query lambda of
section 3.2, and the lambda convolution of the same section, whose position lambdas see a local window only.
"""

from __future__ import annotations

from typing import Any

import keras

from bigearth_tf.layers.batch_norm import batch_norm


def lambda_layer(features: Any, name: str, *, dim_k: int = 16, heads: int = 4, context_px: int = 7) -> Any:
    """Returns features [B, H, W, C], the shape of the input.

    With queries q [H W, heads, k], keys softmax(K) over all pixels [H W, k] and values V [H W, v], v = C / heads:

        content lambda   [k, v] = sum over pixels m of softmax(K)[m] V[m]
        position lambda_n[k, v] = sum over pixels m of the window around n of R[m - n] V[m]
        output of a head at n   = q_n (content lambda + position lambda_n)

    The largest tensor is the products of queries and position lambdas: H W C dim_k numbers.

    Args:
        features: [B, H, W, C].
        name: Prefix of the layers' names.
        dim_k: Depth of queries and keys; 16 in section 4.
        heads: Number of queries of a pixel, which share keys and values; divides C.
        context_px: Side of the window of R, which has one vector of `dim_k` for each offset. Odd.

    Raises:
        ValueError: `heads` does not divide C.
    """
    height, width, num_channels = features.shape[1:]
    if num_channels % heads:
        raise ValueError(f"heads={heads} must divide the {num_channels} channels of a lambda layer.")
    dim_v = num_channels // heads
    queries = batch_norm(_project(features, heads * dim_k, f"{name}_queries"), "standard", f"{name}_queries_norm")
    values = batch_norm(_project(features, dim_v, f"{name}_values"), "standard", f"{name}_values_norm")
    keys = keras.layers.Reshape((height * width, dim_k), name=f"{name}_keys_flat")(
        _project(features, dim_k, f"{name}_keys")
    )
    # Sums over thousands of pixels need more digits than half precision has.
    keys = keras.layers.Softmax(axis=1, dtype="float32", name=f"{name}_keys_softmax")(keys)
    by_content = _apply_content_lambda(queries, keys, values, heads, name)
    by_position = _apply_position_lambdas(queries, values, heads, context_px, name)
    return keras.layers.Add(name=name)([by_content, by_position])


def _project(features: Any, channels: int, name: str) -> Any:
    return keras.layers.Conv2D(channels, 1, use_bias=False, kernel_initializer="he_normal", name=name)(features)


def _apply_content_lambda(queries: Any, keys: Any, values: Any, heads: int, name: str) -> Any:
    """Returns [B, H, W, C]: every query times the content lambda [k, v] of the whole map."""
    height, width, dim_v = values.shape[1:]
    values = keras.layers.Reshape((height * width, dim_v), name=f"{name}_values_flat")(values)
    content_lambda = keras.layers.Dot((1, 1), name=f"{name}_content_lambda")([keys, values])
    queries = keras.layers.Reshape((height * width * heads, keys.shape[-1]), name=f"{name}_queries_flat")(queries)
    outputs = keras.layers.Dot((2, 1), name=f"{name}_content")([queries, content_lambda])
    return keras.layers.Reshape((height, width, heads * dim_v), name=f"{name}_content_map")(outputs)


def _apply_position_lambdas(queries: Any, values: Any, heads: int, context_px: int, name: str) -> Any:
    """Returns [B, H, W, C]: every query times the position lambda [k, v] of its pixel."""
    height, width, dim_v = values.shape[1:]
    dim_k = queries.shape[-1] // heads
    values = keras.layers.Reshape((height, width, dim_v, 1), name=f"{name}_values_3d")(values)
    # One kernel for all values: v is the depth axis of this 3-D convolution, along which the kernel has size 1.
    # NOTE: the variance is 1 / (dim_k context_px^2), so that normalized queries and values give outputs of unit
    # variance. The paper's networks normalize these outputs, pre-activation blocks do not.
    position_lambdas = keras.layers.Conv3D(
        dim_k,
        (context_px, context_px, 1),
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(1.0 / dim_k, "fan_in", "truncated_normal"),
        name=f"{name}_position_lambdas",
    )(values)
    shape = (height * width, 1, dim_v, dim_k)
    position_lambdas = keras.layers.Reshape(shape, name=f"{name}_position_lambdas_flat")(position_lambdas)
    queries = keras.layers.Reshape((height * width, heads, 1, dim_k), name=f"{name}_queries_per_head")(queries)
    products = keras.layers.Multiply(name=f"{name}_products")([queries, position_lambdas])
    # The sum over k, by a pooling layer: its mean over the last axis, times k.
    products = keras.layers.Reshape((height * width * heads * dim_v, dim_k), name=f"{name}_products_flat")(products)
    means = keras.layers.GlobalAveragePooling1D("channels_first", name=f"{name}_mean_over_k")(products)
    sums = keras.layers.Rescaling(float(dim_k), name=f"{name}_sum_over_k")(means)
    return keras.layers.Reshape((height, width, heads * dim_v), name=f"{name}_position")(sums)
