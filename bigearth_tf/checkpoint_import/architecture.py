"""Recognition of the model of a checkpoint by the keys and shapes of its weights, never by the name of its file.

Each family has a reader (`convolutional`, `patch_based`) that returns the config of the layers. The model is then that
of the zoo whose reference form has the same shapes, otherwise the one that differs in the fewest fields.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from bigearth_tf.checkpoint_import import convolutional, patch_based
from bigearth_tf.checkpoint_import.shapes import (
    BANDS_BY_STEM_CHANNELS,
    MismatchError,
    check_stem_channels,
    require,
)
from bigearth_tf.checkpoint_import.weights import Layer
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.models.families import efficientnet, keras_applications, mlp_mixer, vision_transformer, wide_resnet
from bigearth_tf.models.reference_names import REFERENCE_NAMES
from bigearth_tf.models.registry import changed_fields, model_config, reference_config, reference_overrides
from bigearth_tf.models.scaling import REFERENCE_SCALINGS

# Number of convolution kernels and of features of the networks that the benchmark took from keras.applications, counted
# in keras.applications.
_KERAS_APPLICATIONS = {
    "resnet50": (53, 2048), "resnet101": (104, 2048), "resnet152": (155, 2048),
    "densenet121": (120, 1024), "densenet169": (168, 1664), "densenet201": (200, 1920),
    "vgg16": (13, 512), "vgg19": (16, 512),
    "efficientnet_b0": (81, 1280), "efficientnet_b1": (115, 1280), "efficientnet_b2": (115, 1408),
    "efficientnet_b3": (130, 1536), "efficientnet_b4": (160, 1792), "efficientnet_b5": (194, 2048),
    "efficientnet_b6": (224, 2304), "efficientnet_b7": (273, 2560),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A model of the zoo in its reference form.

    `config` is the family's; `overrides` are the fields that differ from the default form of `name`. `is_exact` is
    False if the benchmark published no model of these shapes, so that `name` is only the most similar one.
    """

    name: str
    config: Any
    overrides: dict[str, Any]
    bands: tuple[str, ...]
    is_exact: bool

    @property
    def published_name(self) -> str | None:
        """The benchmark's name of the model, None if the benchmark published no such model."""
        names = {ours: theirs for theirs, ours in REFERENCE_NAMES.items()}
        return names.get(self.name) if self.is_exact else None

    def describe(self) -> str:
        """Returns the name, the config and the number of bands, for messages."""
        fields = ", ".join(f"{field}={value!r}" for field, value in dataclasses.asdict(self.config).items())
        similar = "" if self.is_exact else "close to "
        return f"{similar}{self.name} ({fields}) of {len(self.bands)} bands"


@dataclasses.dataclass(frozen=True)
class _Family:
    """How to recognize the models of a family.

    `read` returns the config of some layers and the input channels of their stem, or raises MismatchError. `is_same`
    compares two configs by their shapes. `knows_resolution`: whether the shapes determine the side of the image.
    """

    title: str
    module: Any
    read: Callable[[Sequence[Layer]], tuple[Any, int]]
    is_same: Callable[[Any, Any], bool]
    knows_resolution: bool


def recognize(layers: Sequence[Layer], resolution_px: int | None = None) -> Architecture:
    """Returns the architecture of a checkpoint of the benchmark.

    Args:
        layers: All layers of the checkpoint, in its order.
        resolution_px: Side of the image, which the shapes of a scaled convolutional model do not determine.

    Raises:
        ValueError: No family has such layers, or the resolution is missing or contradicts them.
    """
    _refuse_dense_net(layers)
    if layers[-1].kernel[1:] != (len(CLASSES_19),):
        raise ValueError(f"The last layer has a kernel {list(layers[-1].kernel)}; that of a model of the benchmark has "
                         f"{len(CLASSES_19)} classes.")  # fmt: skip
    reasons = []
    for family in _FAMILIES:
        try:
            config, num_channels = family.read(layers)
        except MismatchError as error:
            reasons.append(f"  {family.title}: {error}")
            continue
        architecture = _find_in_zoo(family, config, BANDS_BY_STEM_CHANNELS[num_channels])
        if family.knows_resolution:
            return _check_resolution(architecture, resolution_px)
        return _set_resolution(architecture, resolution_px)
    raise ValueError(f"None of the benchmark's families has these {len(layers)} layers:\n" + "\n".join(reasons))


def _find_in_zoo(family: _Family, config: Any, bands: tuple[str, ...]) -> Architecture:
    """Returns the zoo's model of the same shapes, else the config under the name of the most similar model."""
    references = family.module.REFERENCE
    for name, reference in references.items():
        if family.is_same(reference, config):
            return Architecture(name, reference, reference_overrides(name), bands, is_exact=True)
    name = min(references, key=lambda name: len(changed_fields(references[name], config)))
    config = dataclasses.replace(config, resolution_px=references[name].resolution_px)
    return Architecture(name, config, changed_fields(model_config(name), config), bands, is_exact=False)


def _check_resolution(architecture: Architecture, resolution_px: int | None) -> Architecture:
    """Returns an architecture whose shapes determine the resolution.

    Raises:
        ValueError: Another resolution was requested.
    """
    known = architecture.config.resolution_px
    if resolution_px not in (None, known):
        raise ValueError(f"resolution_px={resolution_px}: a {architecture.name} of these shapes sees {known} px.")
    return architecture


def _set_resolution(architecture: Architecture, resolution_px: int | None) -> Architecture:
    """Returns an architecture with the requested resolution, or with that of an unscaled model.

    Raises:
        ValueError: The model is scaled and no resolution was requested.
    """
    if resolution_px is None:
        if convolutional.is_unscaled(architecture.config):
            return architecture
        scalings = [f"{scaling.resolution_px} (B{index})" for index, scaling in enumerate(REFERENCE_SCALINGS)]
        probable = f" {architecture.config.resolution_px} is that of {architecture.name}."
        raise ValueError(
            f"The shapes are those of {architecture.describe()}, but those of a scaled model do not determine the side "
            f"of its image. Specify it with --resolution_px. The scalings of this zoo have {', '.join(scalings)}."
            f"{probable if architecture.is_exact else ''}"
        )
    config = dataclasses.replace(architecture.config, resolution_px=resolution_px)
    overrides = changed_fields(model_config(architecture.name), config)
    return dataclasses.replace(architecture, config=config, overrides=overrides)


def _read_keras_application(layers: Sequence[Layer]) -> tuple[keras_applications.Config, int]:
    """Returns the config of a network of keras.applications and the input channels of its stem.

    Raises:
        MismatchError: The layers are not those of one.
    """
    require(layers[0].is_nested and not layers[-1].is_nested, "no inner model before the head")
    kernels = [kernel for kernel in map(_convolution_kernel, layers) if len(kernel) == 4]
    found = (len(kernels), layers[-1].kernel[0])
    names = [name for name, row in _KERAS_APPLICATIONS.items() if row == found]
    require(names, f"{found[0]} convolution kernels and {found[1]} features, which no model there has")
    (name,) = names
    return reference_config(name), check_stem_channels(kernels[0][2])


def _convolution_kernel(layer: Layer) -> tuple[int, ...]:
    return layer.kernel or layer.shapes.get("depthwise_kernel", ())


# In the order in which they are tried and listed in messages.
_FAMILIES = (
    _Family("WideResNet", wide_resnet, convolutional.read_wide_resnet, convolutional.is_same_wide_resnet, False),
    _Family(
        "EfficientNet with attention",
        efficientnet,
        convolutional.read_efficientnet,
        convolutional.is_same_efficientnet,
        False,
    ),
    _Family("Vision Transformer", vision_transformer, patch_based.read_vision_transformer, operator.eq, True),
    _Family("MLP-Mixer", mlp_mixer, patch_based.read_mlp_mixer, operator.eq, True),
    _Family("keras.applications", keras_applications, _read_keras_application, operator.eq, True),
)


def _refuse_dense_net(layers: Sequence[Layer]) -> None:
    """Raises ValueError for the network that the benchmark's code trained, without a warning, for an unknown name."""
    if [layer.kernel[1:] for layer in layers] == [(128,), (64,), (len(CLASSES_19),)]:
        raise ValueError(
            "This checkpoint contains no convolutional network, whatever its name: it has three dense layers, "
            f"{layers[0].kernel[0]} -> 128 -> 64 -> {len(CLASSES_19)}, all linear. The benchmark's code built it "
            "without a warning for a name that it did not know, as for DenseNet169. The zoo has no such model."
        )


def find_name_conflict(file_name: str, architecture: Architecture) -> str | None:
    """Returns a warning if a file's name is that of another model than its shapes, else None."""
    plain = _simplify(file_name)
    matches = [theirs for theirs in REFERENCE_NAMES if _simplify(theirs) in plain]
    if not matches:
        return None
    theirs = max(matches, key=len)
    # The benchmark's code saved every WideResNet under this name, with any attention or scaling.
    if plain == "checkpointwideresnet" and architecture.name.startswith("wide_resnet"):
        return None
    if REFERENCE_NAMES[theirs] == architecture.name and architecture.is_exact:
        return None
    return (
        f"The file is called {file_name}, which is the name of {theirs} ({REFERENCE_NAMES[theirs]} here), but its "
        f"shapes are those of {architecture.describe()}. The shapes decide."
    )


def _simplify(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
