"""The cost of models against TensorFlow's profiler, against papers, and against numbers computed by hand."""

import math

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bigearth_tf.models.cost import Cost, compute_cost
from bigearth_tf.models.registry import create_model

# Only these are compared: the profiler also counts norms, pooling and sums.
PRODUCTS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")


@pytest.fixture(autouse=True)
def clear_session():
    yield
    keras.backend.clear_session()


def profiled_flops(model):
    """Returns the FLOPs that TensorFlow's profiler counts for one patch, plus those of einsums, which it skips."""
    specs = {name: tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for name, tensor in model.input.items()}
    function = tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(specs)
    graph = convert_variables_to_constants_v2(function).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    node = tf.compat.v1.profiler.profile(graph, cmd="op", options={**options, "output": "none"})
    flops = 0
    while node.children:
        (node,) = node.children
        flops += node.float_ops if node.name in PRODUCTS else 0
    return flops + sum(einsum_flops(op) for op in graph.get_operations() if op.type == "Einsum")


def einsum_flops(op):
    letters = op.get_attr("equation").decode().split("->")[0].replace(",", "")
    sizes = [size for tensor in op.inputs for size in tensor.shape]
    return 2 * math.prod(dict(zip(letters, sizes, strict=True)).values())


@pytest.mark.parametrize("name", [
    "wide_resnet_se", "wide_resnet_cbam_ghost", "wide_resnet_coordinate", "lambda_resnet", "mlp_mixer_tiny", "vit_40",
    *(pytest.param(name, marks=pytest.mark.full) for name in (
        "wide_resnet", "wide_resnet_eca_b1", "resnet18", "vit_20", "k_branch_cnn")),
])  # fmt: skip
def test_flops_match_the_profiler(name):
    model = create_model(name, num_classes=19)
    assert compute_cost(model).flops == profiled_flops(model)


@pytest.mark.parametrize(("build", "multiply_adds"), [
    # He et al., https://arxiv.org/abs/1512.03385, table 1.
    pytest.param("ResNet50", 3.8e9, marks=pytest.mark.full),
    # Howard et al., https://arxiv.org/abs/1704.04861, table 4.
    ("MobileNet", 569e6),
    # Sandler et al., https://arxiv.org/abs/1801.04381, table 4.
    pytest.param("MobileNetV2", 300e6, marks=pytest.mark.full),
    # Tan and Le, https://arxiv.org/abs/1905.11946, table 2.
    pytest.param("EfficientNetB0", 0.39e9, marks=pytest.mark.full),
])  # fmt: skip
def test_multiply_adds_at_224_px_match_the_papers(build, multiply_adds):
    model = getattr(keras.applications, build)(weights=None)
    assert model.input_shape == (None, 224, 224, 3)
    cost = compute_cost(model)
    assert cost.flops == pytest.approx(2 * multiply_adds, rel=0.02)
    assert cost.parameters == model.count_params()


@pytest.mark.full
def test_activations_of_resnet50_match_the_paper():
    # Radosavovic et al., https://arxiv.org/abs/2003.13678, comparison with ResNe(X)t: 11.1 M. The paper's has its
    # strides in the 3 x 3 convolutions; Keras's has them in the 1 x 1 before, whose maps are smaller.
    cost = compute_cost(keras.applications.ResNet50(weights=None))
    earlier_strides = sum(3 * size * size * channels for size, channels in ((28, 128), (14, 256), (7, 512)))
    assert cost.activations + earlier_strides == pytest.approx(11.1e6, rel=0.01)


def cost_of_layers(shape, *layers):
    return compute_cost(keras.Sequential([keras.Input(shape), *layers]))


@pytest.mark.parametrize(("shape", "layer", "flops", "activations"), [
    ((8, 8, 3), keras.layers.Conv2D(4, 3, padding="same"), 2 * 64 * 4 * 27, 256),
    ((8, 8, 3), keras.layers.Conv2D(4, 3, strides=2), 2 * 9 * 4 * 27, 36),
    ((8, 8, 6), keras.layers.Conv2D(4, 3, groups=2, padding="same"), 2 * 64 * 4 * 27, 256),
    ((8, 8, 3), keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 2 * 64 * 6 * 9, 384),
    ((10, 2), keras.layers.Conv1D(5, 3, padding="same"), 2 * 10 * 5 * 6, 50),
    ((10, 2), keras.layers.DepthwiseConv1D(3, padding="same"), 2 * 10 * 2 * 3, 20),
    ((4, 4, 4, 2), keras.layers.Conv3D(3, (3, 3, 1), padding="same"), 2 * 64 * 3 * 18, 192),
    ((7,), keras.layers.Dense(5), 2 * 7 * 5, 5),
    ((6, 4, 7), keras.layers.Dense(5), 2 * 24 * 7 * 5, 120),
    ((6, 4), keras.layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3)), 2 * 6 * 4 * 6, 36),
    ((6, 2, 3), keras.layers.EinsumDense("...cd,cde->...e", output_shape=(5,)), 2 * 6 * 6 * 5, 30),
    ((4, 4, 3), keras.layers.BatchNormalization(), 0, 0),
    ((4, 4, 3), keras.layers.MaxPooling2D(), 0, 0),
])  # fmt: skip
def test_cost_of_one_layer(shape, layer, flops, activations):
    cost = cost_of_layers(shape, layer)
    assert (cost.flops, cost.activations) == (flops, activations)
    assert cost.parameters == layer.count_params()


def test_cost_of_attention():
    queries, values = keras.Input((5, 8)), keras.Input((7, 6))
    outputs = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4)(queries, values)
    cost = compute_cost(keras.Model([queries, values], outputs))
    # Queries, keys, values, scores, weighted values, and the projection to 8 channels.
    assert cost.flops == 2 * (5 * 8 * 6 + 7 * 6 * 6 + 7 * 6 * 8 + 2 * 5 * 7 * 3 + 2 * 5 * 7 * 4 + 5 * 8 * 8)
    assert cost.activations == 5 * 6 + 7 * 6 + 7 * 8 + 2 * 5 * 7 + 5 * 8 + 5 * 8
    assert cost.parameters == (8 * 6 + 6) + (6 * 6 + 6) + (6 * 8 + 8) + (8 * 8 + 8)


def test_cost_of_a_dot_product():
    first, second = keras.Input((6, 3)), keras.Input((6, 4))
    cost = compute_cost(keras.Model([first, second], keras.layers.Dot(1)([first, second])))
    assert cost == Cost(0, 0, 2 * 3 * 4 * 6, 12)


def test_a_shared_layer_counts_flops_per_call_and_parameters_once():
    inputs = [keras.Input((7,)), keras.Input((7,))]
    shared = keras.layers.Dense(5)
    cost = compute_cost(keras.Model(inputs, keras.layers.Add()([shared(tensor) for tensor in inputs])))
    assert cost == Cost(40, 40, 2 * (2 * 7 * 5), 10)


def test_nested_models_count_and_statistics_of_norms_are_not_trainable():
    inner = keras.Sequential([keras.Input((7,)), keras.layers.Dense(5), keras.layers.BatchNormalization()])
    inputs = keras.Input((7,))
    outputs = keras.layers.Dense(2)(inner(inputs))
    assert compute_cost(keras.Model(inputs, outputs)) == Cost(72, 62, 2 * (35 + 10), 7)


def test_a_layer_used_outside_the_model_does_not_count():
    inputs = keras.Input((7,))
    shared = keras.layers.Dense(5)
    shared(keras.Input((7,)))
    assert compute_cost(keras.Model(inputs, shared(inputs))).activations == 5


def test_operators_between_tensors_are_free_unless_they_multiply_matrices():
    inputs = keras.Input((4, 4))
    assert compute_cost(keras.Model(inputs, inputs * inputs + 3.0)) == Cost()
    with pytest.raises(ValueError, match="its cost is unknown"):
        compute_cost(keras.Model(inputs, inputs @ inputs))


class Doubled(keras.layers.Dense):
    """A subclass, whose cost may differ from that of its base class."""


@pytest.mark.parametrize(("shape", "layer"), [
    ((8, 3), keras.layers.LSTM(4)),
    ((8, 8, 3), keras.layers.Conv2DTranspose(4, 3)),
    ((8, 3), keras.layers.Lambda(lambda x: x @ tf.transpose(x, (0, 2, 1)))),
    ((3,), Doubled(4)),
])  # fmt: skip
def test_an_unknown_layer_is_an_error(shape, layer):
    with pytest.raises(ValueError, match=rf"Layer {layer.name} .*: its cost is unknown\. Add it to"):
        cost_of_layers(shape, layer)


def test_an_undefined_size_is_an_error():
    with pytest.raises(ValueError, match="are undefined; build it for one size"):
        cost_of_layers((None, None, 3), keras.layers.Conv2D(4, 3))


def test_a_model_without_known_layers_is_an_error():
    with pytest.raises(ValueError, match="only functional and built sequential models"):
        compute_cost(keras.Sequential([keras.layers.Dense(3)]))
