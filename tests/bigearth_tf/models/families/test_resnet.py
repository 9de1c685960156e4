"""ResNet-18 and ResNet-34 against table 1 of their paper."""

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.registry import create_encoder, create_model


# Trainable parameters with 3 channels and 1,000 classes: those that torchvision's documentation gives for its
# resnet18 and resnet34, https://pytorch.org/vision/stable/models.html.
@pytest.mark.parametrize(("name", "parameters", "depth"), [("resnet18", 11689512, 18), ("resnet34", 21797672, 34)])
def test_parameters_and_depth(name, parameters, depth):
    model = create_model(name, bands="RGB", num_classes=1000)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    counted = [x for x in model.layers if isinstance(x, kinds) and "shortcut" not in x.name]
    assert len(counted) == depth


def test_sizes_of_maps_match_table_1():
    encoder = create_encoder("resnet18")
    sides = {"stem_relu": 60, "stem_pool": 30, "stage1_block2_relu": 30, "stage2_block1_relu": 15}
    sides |= {"stage3_block2_relu": 8, "stage4_block2_relu": 4}
    for name, side in sides.items():
        assert encoder.get_layer(name).output_shape[1:3] == (side, side), name
    assert encoder.output_shape == (None, 512)


def test_a_block_with_a_zero_branch_returns_its_input():
    encoder = create_encoder("resnet18", bands="RGB", resolution_px=32)
    encoder.get_layer("stage3_block2_2_norm").gamma.assign(np.zeros(256))
    names = ("stage3_block1_relu", "stage3_block2_relu")
    both = keras.Model(encoder.input, [encoder.get_layer(name).output for name in names])
    rng = np.random.default_rng(0)
    batch = {band.name: rng.integers(0, 3000, (1, 120, 120)).astype(np.uint16) for band in get_bands("RGB")}
    before, after = both(batch)
    assert before.numpy().any()
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"blocks": (2, 2, 2)}, "4 stages of at least one block"),
        ({"blocks": (2, 2, 0, 2)}, "at least one block"),
        ({"resolution_px": 16}, "resolution_px=16"),
        ({"resampling": "nearest"}, "resampling='nearest'"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("resnet18", num_classes=3, **override)
