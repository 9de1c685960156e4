"""Networks of keras.applications: one table row each, without pretrained weights.

Sources: the benchmark's ResNets, DenseNets, VGGs and EfficientNets, https://arxiv.org/abs/2111.09451; those of the
later networks are next to their rows. The network is one layer, `backbone`, as in the checkpoints of the benchmark.

NOTE: batch norms keep the momentum of keras.applications, mostly 0.99, not the 0.9 of the zoo's own families. ConvNeXts
have no stochastic depth there. MobileNetV3 comes without the dense layer between its pooling and the classifier.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import keras

from bigearth_tf.data.bands import Band
from bigearth_tf.layers.band_stack import RESAMPLING, band_stack
from bigearth_tf.models.checks import check_choices, check_ranges

# The minimum that keras.applications requires.
SMALLEST_PX = 32


@dataclasses.dataclass(frozen=True)
class Config:
    """A network of keras.applications; `application` is the name of its function there.

    `resolution_px` is the side of the image to which the bands are resampled; `resampling` is one of
    `RESAMPLING`. Some networks first rescale pixels of 0 ... 255 to about -1 ... 1. `keep_preprocessing` keeps that
    layer although the bands are already standardized: the reference EfficientNets divide standardized bands by 255.
    `norm_momentum` replaces the momentum of the batch norms; None keeps it.
    """

    application: str
    resolution_px: int = 120
    resampling: str = "antialiased"
    keep_preprocessing: bool = False
    norm_momentum: float | None = None

    def __post_init__(self) -> None:
        """Checks the fields, which a caller may have overridden."""
        check_choices(self, resampling=RESAMPLING)
        check_ranges(
            self,
            resolution_px=self.resolution_px >= SMALLEST_PX,
            norm_momentum=self.norm_momentum is None or 0 <= self.norm_momentum < 1,
        )


def reference_form(config: Config) -> Config:
    """Returns the config as the benchmark's code builds it, defects included."""
    keep_preprocessing = config.application.startswith("EfficientNetB")
    return dataclasses.replace(config, resampling="bicubic", keep_preprocessing=keep_preprocessing)


_BENCHMARK: dict[str, Config] = {
    **{f"resnet{depth}": Config(f"ResNet{depth}") for depth in (50, 101, 152)},
    **{f"densenet{depth}": Config(f"DenseNet{depth}") for depth in (121, 169, 201)},
    **{f"vgg{depth}": Config(f"VGG{depth}") for depth in (16, 19)},
    **{f"efficientnet_b{index}": Config(f"EfficientNetB{index}") for index in range(8)},
}

VARIANTS: dict[str, Config] = {
    **_BENCHMARK,
    # Liu et al., https://arxiv.org/abs/2201.03545.
    **{f"convnext_{size.lower()}": Config(f"ConvNeXt{size}") for size in ("Tiny", "Small", "Base")},
    # Tan and Le, https://arxiv.org/abs/2104.00298.
    **{f"efficientnetv2_{size.lower()}": Config(f"EfficientNetV2{size}") for size in ("B0", "B1", "B2", "B3", "S")},
    # Sandler et al., https://arxiv.org/abs/1801.04381; Howard et al., https://arxiv.org/abs/1905.02244.
    "mobilenetv2": Config("MobileNetV2"),
    **{f"mobilenetv3_{size.lower()}": Config(f"MobileNetV3{size}") for size in ("Small", "Large")},
    # Radosavovic et al., https://arxiv.org/abs/2003.13678.
    **{f"regnety_{flops}": Config(f"RegNetY{flops}") for flops in ("004", "008", "016")},
    # Bello et al., https://arxiv.org/abs/2103.07579. NOTE: keras.applications has momentum 0 here, which keeps only the
    # statistics of the last batch; its other networks have 0.99.
    **{f"resnet_rs_{depth}": Config(f"ResNetRS{depth}", norm_momentum=0.99) for depth in (50, 101)},
}

REFERENCE: dict[str, Config] = {name: reference_form(config) for name, config in _BENCHMARK.items()}


def _register_layer_scale() -> None:
    """Registers a layer of ConvNeXt with Keras 2.15, which otherwise cannot load it from a file."""
    application = getattr(keras.applications, "ConvNeXtTiny", None)
    layer_scale = getattr(importlib.import_module(application.__module__), "LayerScale", None) if application else None
    if layer_scale is not None:
        keras.saving.register_keras_serializable("bigearth_tf")(layer_scale)


_register_layer_scale()


def encode(config: Config, inputs: dict[str, Any], bands: Sequence[Band]) -> Any:
    """Returns the features [B, F] of raw bands; F depends on the network.

    Raises:
        ValueError: This version of Keras lacks the application.
    """
    x = band_stack(inputs, bands, config.resolution_px, config.resampling)
    if config.application.startswith("EfficientNetB") and not config.keep_preprocessing:
        # The network's first layer divides by 255 and cannot be removed.
        x = keras.layers.Rescaling(255.0, dtype="float32", name="undo_rescaling")(x)
    network = _network(config, x.shape[-1])
    last = network.layers[-1]
    if not isinstance(last, keras.layers.LayerNormalization):
        x = keras.Model(network.input, network.output, name="backbone")(x)
        return keras.layers.GlobalAveragePooling2D(name="features")(x)
    # ConvNeXt's paper normalizes after pooling; keras.applications normalizes each pixel.
    x = keras.Model(network.input, last.input, name="backbone")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    return keras.layers.LayerNormalization(epsilon=last.epsilon, name="features")(x)


def _network(config: Config, num_channels: int) -> keras.Model:
    """Returns the untrained application: [B, resolution_px, resolution_px, num_channels] -> [B, H, W, F]."""
    function = _application(config.application)
    options = {"weights": None, "include_top": False}
    if "include_preprocessing" in inspect.signature(function).parameters:
        options["include_preprocessing"] = config.keep_preprocessing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels", UserWarning)
        network = function(input_shape=(config.resolution_px, config.resolution_px, num_channels), **options)
    for layer in network.layers:
        if config.norm_momentum is not None and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.norm_momentum
    return network


def _application(name: str) -> Any:
    function = getattr(keras.applications, name, None)
    if function is None:
        raise ValueError(
            f"keras.applications of Keras {keras.__version__} has no {name!r}. If the name is spelled correctly, use "
            "Keras 2.15, which is installed with TensorFlow 2.15."
        )
    return function
