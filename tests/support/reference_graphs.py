"""Graphs of the benchmark's code, rebuilt from the description of their layers, to write checkpoints as it does.

The order of its keys is Keras's order by depth, in which operations without weights count, so each operation is rebuilt
here. The importer and the zoo are not used.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

layers = tf.keras.layers
BANDS = ("B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")


def _norm():
    return layers.BatchNormalization(momentum=0.1, epsilon=1e-5)


def _gap_gate(x):
    return layers.Reshape((1, 1, x.shape[-1]))(layers.GlobalAveragePooling2D()(x))


def _se(x, ratio=16):
    gate = layers.Dense(x.shape[-1] // ratio, activation="swish")(_gap_gate(x))
    return layers.multiply([x, layers.Dense(x.shape[-1], activation="sigmoid")(gate)])


def _cbam(x):
    channels = x.shape[-1]
    first, second = layers.Dense(channels // 16, activation="relu"), layers.Dense(channels)
    means = second(first(_gap_gate(x)))
    maxima = second(first(layers.Reshape((1, 1, channels))(layers.GlobalMaxPooling2D()(x))))
    x = layers.multiply([x, layers.Activation("sigmoid")(layers.Add()([means, maxima]))])
    maps = [
        layers.Lambda(lambda image: tf.reduce_mean(image, axis=3, keepdims=True))(x),
        layers.Lambda(lambda image: tf.reduce_max(image, axis=3, keepdims=True))(x),
    ]
    gate = layers.Conv2D(1, 7, padding="same", use_bias=False, activation="sigmoid")(layers.Concatenate()(maps))
    return layers.multiply([x, gate])


def _coordinate(x):
    _, height, width, channels = x.shape
    rows = layers.AveragePooling2D((1, width), 1)(x)
    columns = tf.transpose(layers.AveragePooling2D((height, 1), 1)(x), [0, 2, 1, 3])
    both = layers.Conv2D(max(8, channels // 32), 1)(tf.concat([rows, columns], 1))
    both = _norm()(both)
    both = both * (tf.nn.relu6(both + 3) / 6)
    rows, columns = tf.split(both, 2, axis=1)
    columns = tf.transpose(columns, [0, 2, 1, 3])
    by_row = layers.Conv2D(channels, 1, activation="sigmoid")(rows)
    by_column = layers.Conv2D(channels, 1, activation="sigmoid")(columns)
    return x * by_row * by_column


def _eca(x):
    channels = x.shape[-1]
    size = int(abs((math.log2(channels) + 1) / 2))
    gate = layers.Reshape((channels, 1))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Activation("sigmoid")(layers.Conv1D(1, size + 1 - size % 2, padding="same")(gate))
    return layers.multiply([x, layers.Reshape((1, 1, channels))(gate)])


ATTENTION = {"none": lambda x: x, "se": _se, "cbam": _cbam, "coordinate": _coordinate, "eca": _eca}


def _conv(x, channels, kernel, stride, ghost, use_bias):
    if not ghost:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=use_bias)(x)
    half = layers.Conv2D(channels // 2, kernel, stride, padding="same", use_bias=False)(x)
    return layers.Concatenate()([half, layers.Activation("relu")(_norm()(half))])


def _norm_relu(x):
    return layers.Activation("relu")(_norm()(x))


def wide_resnet(attention, ghost, *, size_px, num_channels=10, stage_channels=(32, 64, 128), blocks=1):
    """Returns a WideResNet of the benchmark on a stacked image."""

    def branch(x, channels, stride):
        x = _norm_relu(_conv(x, channels, 3, stride, ghost, False))
        return ATTENTION[attention](_conv(x, channels, 3, 1, ghost, False))

    image = tf.keras.Input((size_px, size_px, num_channels))
    x = _norm_relu(_conv(image, 16, 3, 1, False, False))
    for channels, stride in zip(stage_channels, (1, 2, 2)):
        main = branch(x, channels, stride)
        x = layers.Add()([main, _conv(x, channels, 1, stride, ghost, False)])
        for _ in range(1, blocks):
            x = layers.Add()([x, branch(_norm_relu(x), channels, 1)])
        x = _norm_relu(x)
    x = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(8)(x))
    return tf.keras.Model(image, layers.Dense(19, dtype="float64")(x))


def efficientnet(attention, ghost, *, size_px, repeats=(1, 2, 2, 3, 3, 4, 1)):
    """Returns an EfficientNet with attention of the benchmark, of width 1, on a stacked image."""

    def norm_swish(x):
        return tf.nn.swish(_norm()(x))

    image = tf.keras.Input((size_px, size_px, 10))
    x = norm_swish(_conv(image, 32, 3, 2, False, True))
    rows = zip((16, 24, 40, 80, 112, 192, 320), (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1), (1, *[6] * 6), repeats)
    for channels, kernel, stride, expansion, count in rows:
        for index in range(count):
            block_stride = 1 if index else stride
            y = norm_swish(_conv(x, x.shape[-1] * expansion, 1, 1, ghost, True))
            y = _norm()(layers.DepthwiseConv2D(kernel, block_stride, padding="same")(y))
            y = tf.nn.swish(ATTENTION[attention](layers.Activation(tf.nn.relu6)(y)))
            y = _norm()(_conv(y, channels, 1, 1, ghost, True))
            x = layers.add([x, y]) if block_stride == 1 and x.shape[-1] == channels else y
    x = layers.GlobalAveragePooling2D()(norm_swish(_conv(x, 1280, 1, 1, False, True)))
    return tf.keras.Model(image, layers.Dense(19, dtype="float64")(x))


def nested(backbone):
    """Returns a model of the benchmark whose encoder is one of its layers."""
    image = tf.keras.Input(backbone.input_shape[1:])
    return tf.keras.Model(image, layers.Dense(19, dtype="float64")(backbone(image)))


def keras_application(name):
    """Returns a model of the benchmark from keras.applications at 120 px."""
    build = getattr(tf.keras.applications, name)
    return nested(build(include_top=False, weights=None, input_shape=(120, 120, 10), pooling="avg"))


class PatchEncoder(layers.Layer):
    """Projects patches to tokens and adds their positions."""

    def __init__(self, num_patches, dim):
        super().__init__()
        self.num_patches = num_patches
        self.projection = layers.Dense(dim)
        self.position_embedding = layers.Dense(dim, use_bias=False)

    def call(self, patches):
        index = tf.range(self.num_patches, dtype=tf.float32)[:, None]
        return self.projection(patches) + self.position_embedding(index)


def vision_transformer(patch_size, *, depth=8, dim=64, heads=4, key_dim=64):
    """Returns a Vision Transformer of the benchmark on a stacked image of 120 px."""
    image = tf.keras.Input((120, 120, 10))
    side, step = 120 // patch_size, [1, patch_size, patch_size, 1]
    patches = layers.Lambda(lambda x: tf.image.extract_patches(x, step, step, [1, 1, 1, 1], "VALID"))(image)
    x = PatchEncoder(side * side, dim)(layers.Reshape((side * side, patch_size * patch_size * 10))(patches))
    for _ in range(depth):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(heads, key_dim)(y, y), x])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        for units in (2 * dim, dim):
            y = layers.Dense(units, activation=tf.nn.gelu)(y)
        x = layers.Add()([y, x])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    for units in (2048, 1024):
        x = layers.Dense(units, activation=tf.nn.gelu)(x)
    return tf.keras.Model(image, layers.Dense(19, dtype="float64")(x))


class Mlp(layers.Layer):
    """Two dense layers with a gelu between them."""

    def __init__(self, hidden, units):
        super().__init__()
        self.dense1 = layers.Dense(hidden, activation=tf.nn.gelu)
        self.dense2 = layers.Dense(units)

    def call(self, x):
        return self.dense2(self.dense1(x))


class MixerBlock(layers.Layer):
    """Mixes patches, then channels; its norms are over the patches."""

    def __init__(self, patches, dim, tokens_dim, channels_dim):
        super().__init__()
        self.channel_mixer = Mlp(channels_dim, dim)
        self.token_mixer = Mlp(tokens_dim, patches)
        self.norm1, self.norm2 = layers.LayerNormalization(axis=1), layers.LayerNormalization(axis=1)

    def call(self, x):
        x = x + tf.transpose(self.token_mixer(tf.transpose(self.norm1(x), [0, 2, 1])), [0, 2, 1])
        return x + self.channel_mixer(self.norm2(x))


def mlp_mixer(*, depth=4, dim=128, tokens_dim=64, channels_dim=200):
    """Returns an MLP-Mixer of the benchmark on a stacked image of 120 px, with patches of 12 px."""
    image = tf.keras.Input((120, 120, 10))
    x = layers.Reshape((100, dim))(layers.Conv2D(dim, 12, 12)(image))
    for _ in range(depth):
        x = MixerBlock(100, dim, tokens_dim, channels_dim)(x)
    return nested(tf.keras.Model(image, layers.LayerNormalization()(layers.GlobalAveragePooling1D()(x))))


def randomize(model, seed=0):
    """Gives every weight a random value of a scale at which features neither vanish nor explode; returns the model."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape, leaf = tuple(variable.shape), variable.name.rpartition("/")[2].partition(":")[0]
        if leaf in ("gamma", "moving_variance", "variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif "kernel" in leaf:
            fan = np.prod(shape[:2]) if "depthwise" in leaf else max(1, np.prod(shape[:-1]))
            value = rng.normal(0, 1.2 / np.sqrt(fan), shape)
        else:
            value = rng.normal(0, 0.2, shape)
        variable.assign(value.astype(variable.dtype.as_numpy_dtype))
    return model


def save(model, folder: Path, name="checkpoints-4") -> Path:
    """Writes a checkpoint as the benchmark's training does, and returns its prefix."""
    return Path(tf.train.Checkpoint(model=model).write(str(folder / name)))
