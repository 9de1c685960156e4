"""Names that the benchmark gave its published models -> their names in the zoo.

Source: the list of trained models of https://github.com/Orion-AI-Lab/EfficientBigEarthNet (55 names).
"""

from __future__ import annotations

_ATTENTION = {"COORD": "coordinate", "CBAM": "cbam", "SE": "se"}

REFERENCE_NAMES: dict[str, str] = {
    **{f"ResNet{depth}": f"resnet{depth}" for depth in (50, 101, 152)},
    **{f"DenseNet{depth}": f"densenet{depth}" for depth in (121, 169, 201)},
    **{f"VGG{depth}": f"vgg{depth}" for depth in (16, 19)},
    **{f"ViT/{patch_size}": f"vit_{patch_size}" for patch_size in (6, 12, 20, 30, 40)},
    "ViTM/20": "vitm_20",
    "MLPMixer": "mlp_mixer",
    "MLPMixer_Tiny": "mlp_mixer_tiny",
    "WideResNet": "wide_resnet",
    **{f"WideResNet-{theirs}": f"wide_resnet_{ours}" for theirs, ours in _ATTENTION.items()},
    **{f"WideResNet-{theirs}-Ghost": f"wide_resnet_{ours}_ghost" for theirs, ours in _ATTENTION.items()},
    "WideResNet-ECA": "wide_resnet_eca_b0",
    "WideResNet-ECA-GHOST": "wide_resnet_eca_ghost",
    **{f"WideResNet-ECA-B{index}": f"wide_resnet_eca_b{index}" for index in range(1, 8)},
    **{f"EfficientNetB{index}": f"efficientnet_b{index}" for index in range(8)},
    **{f"EfficientNet-{theirs}": f"efficientnet_{ours}" for theirs, ours in _ATTENTION.items()},
    **{f"EfficientNet-{theirs}-GHOST": f"efficientnet_{ours}_ghost" for theirs, ours in _ATTENTION.items()},
    "EfficientNet-ECA": "efficientnet_eca_b0",
    "EfficientNet-ECA-GHOST": "efficientnet_eca_ghost",
    **{f"EfficientNetB{index}-ECA": f"efficientnet_eca_b{index}" for index in range(1, 8)},
}
