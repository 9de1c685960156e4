"""Vision Transformer: the default form against the paper's equations, the reference form against the benchmark."""

import math

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import Band
from bigearth_tf.models.registry import create_encoder, create_model, reference_config, reference_overrides

# Two bands of 6 x 6 px that are already standardized.
ROWS = tuple(Band(name, "S2", 10, 6, "float32", "none", 0.0, 1.0) for name in ("first", "second"))
TINY = {"patch_size": 2, "resolution_px": 6, "dim": 4, "depth": 2, "num_heads": 2, "key_dim": 3, "mlp_dim": 5}
REFERENCE = reference_overrides("vit_20")


def make_image(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 6, 6, 2)).astype(np.float32)


def as_batch(image):
    return {"first": image[..., 0], "second": image[..., 1]}


def tiny(seed=1, **overrides):
    """Returns an encoder of images of 6 x 6 px with random weights, norms and biases included."""
    encoder = create_encoder("vit_20", bands=ROWS, **{**TINY, **overrides})
    rng = np.random.default_rng(seed)
    encoder.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in encoder.weights])
    return encoder


def patches_of(image):
    """Returns [B, 9, 8]: patches row by row, each with its pixels row by row and both bands of a pixel together."""
    starts = [(row, column) for row in (0, 2, 4) for column in (0, 2, 4)]
    return np.stack([image[:, row : row + 2, column : column + 2].reshape(len(image), 8) for row, column in starts], 1)


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def layer_norm(x, encoder, name):
    gamma, beta = encoder.get_layer(name).get_weights()
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * gamma + beta


def attention(x, encoder, name):
    layer = encoder.get_layer(name)
    (wq, bq, wk, bk, wv, bv, wo, bo) = layer.get_weights()
    q, k, v = (np.einsum("btd,dhk->bhtk", x, w) + b[:, np.newaxis] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
    scores = np.exp(np.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(3))
    return np.einsum("bhts,bhsk,hkd->btd", scores / scores.sum(-1, keepdims=True), v, wo) + bo


def dense(x, encoder, name):
    kernel, bias = encoder.get_layer(name).get_weights()
    return x @ kernel + bias


def encode_by_hand(x, encoder, last):
    """Returns tokens after the encoder; `last` is the activation of the second dense layer."""
    for name in ("layer1", "layer2"):
        x = x + attention(layer_norm(x, encoder, f"{name}_norm1"), encoder, f"{name}_attention")
        hidden = gelu(dense(layer_norm(x, encoder, f"{name}_norm2"), encoder, f"{name}_dense1"))
        x = x + last(dense(hidden, encoder, f"{name}_dense2"))
    return layer_norm(x, encoder, "final_norm")


def test_patches_are_in_reading_order():
    image = make_image()
    encoder = tiny()
    patches = keras.Model(encoder.input, encoder.get_layer("patches").output)(as_batch(image))
    np.testing.assert_array_equal(patches, patches_of(image))


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_the_default_form_follows_equations_1_to_4(pooling):
    encoder = tiny(pooling=pooling)
    image = make_image()
    kernel, bias = encoder.get_layer("embedding").get_weights()
    projected = patches_of(image) @ kernel
    if pooling == "token":
        assert bias.shape == (1 + 9, 4)
        tokens = np.concatenate([np.broadcast_to(bias[0], (2, 1, 4)), projected + bias[1:]], axis=1)
        features = encode_by_hand(tokens, encoder, lambda x: x)[:, 0]
    else:
        assert bias.shape == (9, 4)
        features = encode_by_hand(projected + bias, encoder, lambda x: x).mean(1)
    np.testing.assert_allclose(encoder(as_batch(image)), features, rtol=1e-4, atol=1e-5)


def test_the_reference_form_has_index_positions_flattened_tokens_and_a_head():
    encoder = tiny(**{**REFERENCE, "head_units": (7, 3)})
    image = make_image()
    (direction,) = encoder.get_layer("position_embedding").get_weights()
    assert direction.shape == (1, 4)
    tokens = dense(patches_of(image), encoder, "projection") + np.arange(9)[:, np.newaxis] * direction
    x = encode_by_hand(tokens, encoder, gelu).reshape(2, 36)
    features = gelu(dense(gelu(dense(x, encoder, "head1_dense")), encoder, "head2_dense"))
    np.testing.assert_allclose(encoder(as_batch(image)), features, rtol=1e-4, atol=1e-5)


# Name -> parameters with 19 classes, and weight tensors, of the benchmark's code.
REFERENCE_COUNTS = {
    "vit_6": (55237395, 139),
    "vit_12": (15984915, 139),
    "vit_20": (7760147, 139),
    "vit_30": (5458707, 139),
    "vit_40": (4989203, 139),
    "vitm_20": (8092947, 203),
}


@pytest.mark.parametrize(
    "name", ["vit_40", *(pytest.param(name, marks=pytest.mark.full) for name in ("vit_20", "vit_30", "vitm_20"))]
)
def test_parameters_of_the_reference_form(name):
    model = create_model(name, num_classes=19, **reference_overrides(name))
    assert (model.count_params(), len(model.weights)) == REFERENCE_COUNTS[name]
    assert model.get_layer("features").output_shape == (None, 1024)


@pytest.mark.parametrize("name", REFERENCE_COUNTS)
def test_parameters_of_the_reference_form_by_arithmetic(name):
    # Without building the large models: projection, position, 8 or 12 layers, norm, head, logits.
    config = reference_config(name)
    tokens = (120 // config.patch_size) ** 2
    embedding = config.patch_size**2 * 10 * 64 + 64 + 64
    attention_weights = 3 * (64 * 256 + 256) + 256 * 64 + 64
    layer = 128 + attention_weights + 128 + 64 * 128 + 128 + 128 * 64 + 64
    head = tokens * 64 * 2048 + 2048 + 2048 * 1024 + 1024 + 1024 * 19 + 19
    assert embedding + config.depth * layer + 128 + head == REFERENCE_COUNTS[name][0]


@pytest.mark.full
@pytest.mark.parametrize(
    ("wider", "expected"),
    [
        ({"depth": 8, "dim": 128, "key_dim": 128, "mlp_dim": 256}, (14711315, 139)),
        ({"depth": 12, "dim": 128, "key_dim": 128, "mlp_dim": 256, "num_heads": 8}, (19196435, 203)),
    ],
)
def test_the_other_possible_settings_of_vitm_20_can_be_built(wider, expected):
    model = create_model("vitm_20", num_classes=19, **{**reference_overrides("vitm_20"), **wider})
    assert (model.count_params(), len(model.weights)) == expected


def shuffle_patches(image, order):
    patches = patches_of(image).reshape(2, 9, 2, 2, 2)[:, order].reshape(2, 3, 3, 2, 2, 2)
    return patches.transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 6, 2)


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_only_positions_distinguish_patches(pooling):
    encoder = tiny(pooling=pooling)
    image = make_image()
    shuffled = shuffle_patches(image, [4, 0, 8, 1, 7, 2, 3, 6, 5])
    assert not np.allclose(encoder(as_batch(shuffled)), encoder(as_batch(image)), atol=1e-3)
    kernel, bias = encoder.get_layer("embedding").get_weights()
    first_patch = len(bias) - 9
    bias[first_patch:] = bias[first_patch]
    encoder.get_layer("embedding").set_weights([kernel, bias])
    np.testing.assert_allclose(encoder(as_batch(shuffled)), encoder(as_batch(image)), atol=1e-5)


def test_the_index_of_a_patch_is_exact_in_half_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        encoder = create_encoder("vit_6", **{**reference_overrides("vit_6"), "head_units": (2,), "depth": 1})
        index = keras.Model(encoder.input, encoder.get_layer("patch_index").output)
        positions = encoder.get_layer("position_embedding")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    bands = {name: np.full((1, *tensor.shape[1:]), 9999, np.uint16) for name, tensor in encoder.input.items()}
    np.testing.assert_array_equal(index(bands), np.arange(400)[np.newaxis])
    assert positions.compute_dtype == "float32"


def test_places_of_dropout_in_both_forms():
    default, reference = tiny(), tiny(**REFERENCE)
    assert default.get_layer("layer1_attention").get_config()["dropout"] == 0
    assert reference.get_layer("layer1_attention").get_config()["dropout"] == 0.1
    names = {layer.name: layer.rate for layer in default.layers if isinstance(layer, keras.layers.Dropout)}
    assert names["embedding_dropout"] == names["layer1_attention_dropout"] == names["layer2_dropout2"] == 0.1
    names = {layer.name: layer.rate for layer in reference.layers if isinstance(layer, keras.layers.Dropout)}
    assert names["head1_dropout"] == names["head2_dropout"] == names["features"] == 0.5
    assert "embedding_dropout" not in names
    batch = as_batch(make_image())
    for encoder in (default, reference):
        np.testing.assert_array_equal(encoder(batch, training=False), encoder(batch, training=False))
        assert not np.allclose(encoder(batch, training=True), encoder(batch, training=True))


def test_flattened_tokens_can_be_the_features():
    assert tiny(pooling="flatten").output_shape == (None, 9 * 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"patch_size": 7}, "patch_size=7 does not tile 120 px; allowed: 2, 3, 4, 5, 6, 8, 10, 12"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"patch_size": 240}, "patch_size=240 does not tile"),
        ({"resolution_px": 64}, "patch_size=20 does not tile 64 px; allowed: 2, 4, 8, 16, 32, 64"),
        ({"pooling": "max"}, "pooling='max': unknown; allowed: token, mean, flatten"),
        ({"position_embedding": "sine"}, "position_embedding='sine'"),
        ({"dropout_places": "all"}, "dropout_places='all'"),
        ({"position_embedding": "index"}, 'pooling="token" needs position_embedding="learned"'),
        ({"num_heads": 0, "dim": -1}, "Out of range: dim=-1, num_heads=0"),
        ({"head_units": (2048, 0)}, "head_units"),
        ({"head_dropout": 1.0}, "head_dropout=1.0"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("vit_20", num_classes=3, **override)
