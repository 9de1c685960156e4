"""Models built from shapes only, by the code of the zoo: their weights have shapes but no values."""

import contextlib
from types import SimpleNamespace

import keras
import tensorflow as tf
from keras.src.engine import base_layer, keras_tensor

# Layers that compute the shape of their output from that of their input.
SHAPED = (
    keras.layers.Activation, keras.layers.Add, keras.layers.AveragePooling2D, keras.layers.BatchNormalization,
    keras.layers.Concatenate, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense,
    keras.layers.DepthwiseConv2D, keras.layers.Dropout, keras.layers.Flatten, keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D, keras.layers.LayerNormalization, keras.layers.MaxPooling2D, keras.layers.Multiply,
    keras.layers.Permute, keras.layers.ReLU, keras.layers.Rescaling, keras.layers.Reshape, keras.layers.Resizing,
    keras.layers.ZeroPadding2D,
)  # fmt: skip


@contextlib.contextmanager
def build_from_shapes():
    """Within the `with`, `create_model` builds from shapes: most layers trace no graph, and weights have no values."""
    trace, add_weight = base_layer.Layer._infer_output_signature, base_layer.Layer.add_weight

    def add_shape(layer, name=None, shape=(), trainable=True, **_):
        weight = SimpleNamespace(name=name, shape=tuple(shape))
        (layer._trainable_weights if trainable else layer._non_trainable_weights).append(weight)
        return weight

    def infer(layer, inputs, args, kwargs, masks):
        if isinstance(layer, keras.Model):
            if not layer._is_graph_network:  # A Sequential that was not called before.
                layer._build_graph_network_for_inferred_shape(inputs.shape, inputs.dtype)
            (expected,), (output,) = layer.inputs, layer.outputs
            assert expected.shape == inputs.shape
            return keras_tensor.KerasTensor(tf.TensorSpec(output.shape, layer.compute_dtype))
        if type(layer) not in SHAPED:
            return trace(layer, inputs, args, kwargs, masks)
        base_layer.Layer.add_weight = add_shape
        try:
            layer._maybe_build(inputs)
        finally:
            base_layer.Layer.add_weight = add_weight
        shape = layer.compute_output_shape(tf.nest.map_structure(lambda tensor: tensor.shape, inputs))
        return keras_tensor.KerasTensor(tf.TensorSpec(shape, layer.compute_dtype))

    base_layer.Layer._infer_output_signature = infer
    try:
        yield
    finally:
        base_layer.Layer._infer_output_signature = trace
