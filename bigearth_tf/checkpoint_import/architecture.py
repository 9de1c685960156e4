"""Which model is it that has these layers? Told from keys and shapes alone, whatever a file is called.

Each family has a recogniser (`convolutional`, `patch_based`); the name is then that of the zoo whose published form has
the same shapes, else the one that differs from it in the fewest fields.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

from bigearth_tf.checkpoint_import import convolutional, patch_based
from bigearth_tf.checkpoint_import.shapes import BANDS_OF_CHANNELS, MismatchError, need, stem_channels
from bigearth_tf.checkpoint_import.weights import Layer
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.models.families import efficientnet, mlp_mixer, vision_transformer, wide_resnet
from bigearth_tf.models.reference_names import REFERENCE_NAMES
from bigearth_tf.models.registry import model_config, reference_config, reference_overrides
from bigearth_tf.models.scaling import REFERENCE_SCALINGS

# Convolution kernels and width of the features of what the benchmark took from keras.applications, counted there.
_KERAS = {
    "resnet50": (53, 2048), "resnet101": (104, 2048), "resnet152": (155, 2048),
    "densenet121": (120, 1024), "densenet169": (168, 1664), "densenet201": (200, 1920),
    "vgg16": (13, 512), "vgg19": (16, 512),
    "efficientnet_b0": (81, 1280), "efficientnet_b1": (115, 1280), "efficientnet_b2": (115, 1408),
    "efficientnet_b3": (130, 1536), "efficientnet_b4": (160, 1792), "efficientnet_b5": (194, 2048),
    "efficientnet_b6": (224, 2304), "efficientnet_b7": (273, 2560),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A model of the zoo in the published form: `config` is the family's, `overrides` what differs from its variant.

    `is_published` tells that its shapes are those of that published name, and not only close to them.
    """

    name: str
    config: Any
    overrides: dict[str, Any]
    bands: tuple[str, ...]
    is_published: bool

    @property
    def published_name(self) -> str | None:
        """The benchmark's name of it, None where it is none of those published."""
        named = {ours: theirs for theirs, ours in REFERENCE_NAMES.items()}
        return named.get(self.name) if self.is_published else None

    def describe(self) -> str:
        """Returns what a user should read of it."""
        rows = ", ".join(f"{field}={value!r}" for field, value in dataclasses.asdict(self.config).items())
        close = "" if self.is_published else "close to "
        return f"{close}{self.name} ({rows}) of {len(self.bands)} bands"


def recognize(layers: Sequence[Layer], resolution_px: int | None = None) -> Architecture:
    """Returns the architecture of a published checkpoint.

    Args:
        layers: Of the checkpoint, in its order.
        resolution_px: Side of the image, of which a scaled convolutional model keeps no trace.

    Raises:
        ValueError: No family has such layers, or the resolution is missing or contradicts them.
    """
    _refuse_dense_net(layers)
    reasons = []
    if layers[-1].kernel[1:] != (len(CLASSES_19),):
        raise ValueError(f"The last layer has a kernel {list(layers[-1].kernel)}; that of a published model has "
                         f"{len(CLASSES_19)} classes.")  # fmt: skip
    for title, recogniser in _RECOGNISERS.items():
        try:
            architecture, leaves_trace = recogniser(layers)
        except MismatchError as error:
            reasons.append(f"  {title}: {error}")
            continue
        return _at_resolution(architecture, leaves_trace, resolution_px)
    raise ValueError(f"None of the published families has these {len(layers)} layers:\n" + "\n".join(reasons))


def _at_resolution(architecture: Architecture, leaves_trace: bool, resolution_px: int | None) -> Architecture:
    """Returns an architecture at the resolution that was asked for, or that is certain."""
    known = architecture.config.resolution_px
    if leaves_trace:
        if resolution_px not in (None, known):
            raise ValueError(f"resolution_px={resolution_px}: a {architecture.name} of these shapes sees {known} px.")
        return architecture
    if resolution_px is None:
        if convolutional.is_base_size(architecture.config):
            return architecture
        rows = [f"{scaling.resolution_px} (B{index})" for index, scaling in enumerate(REFERENCE_SCALINGS)]
        likely = f" {known} is that of {architecture.name}." if architecture.is_published else ""
        raise ValueError(
            f"The shapes are those of {architecture.describe()}, but a scaled model keeps no trace of the side of its "
            f"image. Give it with --resolution_px. The scalings of this zoo have {', '.join(rows)}.{likely}"
        )
    config = dataclasses.replace(architecture.config, resolution_px=resolution_px)
    overrides = {**architecture.overrides, "resolution_px": resolution_px}
    if model_config(architecture.name).resolution_px == resolution_px:
        del overrides["resolution_px"]
    return dataclasses.replace(architecture, config=config, overrides=overrides)


def _zoo_model(config: Any, family: Any, num_channels: int, same: Callable[[Any, Any], bool]) -> Architecture:
    """Returns the published form that is `same` as a config, else the config under the name that it is closest to."""
    for name, published in family.REFERENCE.items():
        if same(published, config):
            return Architecture(name, published, reference_overrides(name), BANDS_OF_CHANNELS[num_channels], True)
    fields = [field.name for field in dataclasses.fields(config)]

    def distance(name: str) -> int:
        return sum(getattr(family.REFERENCE[name], field) != getattr(config, field) for field in fields)

    name = min(family.REFERENCE, key=distance)
    config = dataclasses.replace(config, resolution_px=family.REFERENCE[name].resolution_px)
    variant = model_config(name)
    overrides = {field: getattr(config, field) for field in fields if getattr(config, field) != getattr(variant, field)}
    return Architecture(name, config, overrides, BANDS_OF_CHANNELS[num_channels], False)


def _wide_resnet(layers: Sequence[Layer]) -> tuple[Architecture, bool]:
    config, num_channels = convolutional.read_wide_resnet(layers)
    return _zoo_model(config, wide_resnet, num_channels, convolutional.same_wide_resnet), False


def _efficientnet(layers: Sequence[Layer]) -> tuple[Architecture, bool]:
    config, num_channels = convolutional.read_efficientnet(layers)
    return _zoo_model(config, efficientnet, num_channels, convolutional.same_efficientnet), False


def _vision_transformer(layers: Sequence[Layer]) -> tuple[Architecture, bool]:
    config, num_channels = patch_based.read_vision_transformer(layers)
    return _zoo_model(config, vision_transformer, num_channels, lambda a, b: a == b), True


def _mlp_mixer(layers: Sequence[Layer]) -> tuple[Architecture, bool]:
    config, num_channels = patch_based.read_mlp_mixer(layers)
    return _zoo_model(config, mlp_mixer, num_channels, lambda a, b: a == b), True


def _keras_application(layers: Sequence[Layer]) -> tuple[Architecture, bool]:
    need(layers[0].is_nested and not layers[-1].is_nested, "no inner model before the head")
    kernels = [layer for layer in layers if len(_convolution(layer)) == 4]
    found = (len(kernels), layers[-1].kernel[0])
    names = [name for name, row in _KERAS.items() if row == found]
    need(names, f"{found[0]} convolution kernels and {found[1]} features, which no model there has")
    (name,) = names
    num_channels = stem_channels(kernels[0].kernel[2])
    config = reference_config(name)
    return Architecture(name, config, reference_overrides(name), BANDS_OF_CHANNELS[num_channels], True), True


def _convolution(layer: Layer) -> tuple[int, ...]:
    return layer.kernel or layer.shapes.get("depthwise_kernel", ())


# In the order of the message that nothing fits.
_RECOGNISERS: dict[str, Callable[[Sequence[Layer]], tuple[Architecture, bool]]] = {
    "WideResNet": _wide_resnet,
    "EfficientNet with attention": _efficientnet,
    "Vision Transformer": _vision_transformer,
    "MLP-Mixer": _mlp_mixer,
    "keras.applications": _keras_application,
}


def _refuse_dense_net(layers: Sequence[Layer]) -> None:
    """Raises ValueError for what the published code trained in silence where it did not know a name."""
    if [layer.kernel[1:] for layer in layers] == [(128,), (64,), (len(CLASSES_19),)]:
        raise ValueError(
            "This checkpoint holds no convolutional network, whatever its name: it is a net of three dense layers, "
            f"{layers[0].kernel[0]} -> 128 -> 64 -> {len(CLASSES_19)}, all linear. The published code built it in "
            "silence under a name that it did not know, as it did for DenseNet169. There is no such model in the zoo."
        )


def contradiction(file_name: str, architecture: Architecture) -> str | None:
    """Returns what a file's name claims against its shapes, None where it claims nothing or the same."""
    plain = _plain(file_name)
    named = [theirs for theirs in REFERENCE_NAMES if _plain(theirs) in plain]
    if not named:
        return None
    theirs = max(named, key=len)
    # The code saved every WideResNet under this one name, so that it does not tell of attention or scaling.
    if plain == "checkpointwideresnet" and architecture.name.startswith("wide_resnet"):
        return None
    if REFERENCE_NAMES[theirs] == architecture.name and architecture.is_published:
        return None
    return (
        f"The file is called {file_name}, as if it held {theirs} ({REFERENCE_NAMES[theirs]} here); "
        f"its shapes are those of {architecture.describe()}. The shapes are followed."
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
