"""WideResNets: depth, width, pooling and dropout of both forms."""

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.registry import create_model, model_config, reference_config, reference_overrides


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def make_patch(seed=0):
    rng = np.random.default_rng(seed)
    return {
        band.name: rng.integers(0, 5000, (1, band.size_px, band.size_px)).astype(band.dtype) for band in get_bands("S2")
    }


def test_parameters_by_depth_and_width():
    # The benchmark's code of June to October 2021 had depth 16 and 693,843 trainable parameters, then 305,875.
    assert trainable(create_model("wide_resnet", num_classes=19)) == 305875
    assert trainable(create_model("wide_resnet", num_classes=19, depth=16)) == 693843
    assert model_config("wide_resnet", depth=28).blocks_per_stage == 4
    assert create_model("wide_resnet", num_classes=19, width=4).get_layer("features").output_shape == (None, 256)


def test_resolution_changes_the_image_but_no_weight():
    base = create_model("wide_resnet", num_classes=19)
    small = create_model("wide_resnet", num_classes=19, resolution_px=30)
    assert small.count_params() == base.count_params()
    assert small.get_layer("stem_conv").input_shape == (None, 30, 30, 10)


def find_influential_pixels(model):
    """Returns those of some pixels of B02 that change the logits."""
    patch = make_patch()
    logits = model(patch).numpy()
    influential = set()
    for row, column in [(0, 0), (60, 60), (80, 80), (0, 119), (119, 0), (119, 119)]:
        changed = {**patch, "B02": patch["B02"].copy()}
        changed["B02"][0, row, column] += 9000
        if not np.array_equal(model(changed), logits):
            influential.add((row, column))
    return influential


def test_all_pixels_change_the_logits_but_only_the_upper_left_in_the_reference_form():
    keras.utils.set_random_seed(1)
    assert len(find_influential_pixels(create_model("wide_resnet", num_classes=3))) == 6
    reference = create_model("wide_resnet", num_classes=3, **reference_overrides("wide_resnet"))
    assert find_influential_pixels(reference) == {(0, 0), (60, 60), (80, 80)}


def test_b_models_have_the_depths_of_their_form():
    names = [f"wide_resnet_eca_b{index}" for index in range(8)]
    assert [model_config(name).depth for name in names] == [10, 10, 10, 10, 16, 16, 16, 22]
    assert [reference_config(name).blocks_per_stage for name in names] == [1, 1, 1, 1, 1, 3, 3, 4]
    for configs in ([model_config(name) for name in names], [reference_config(name) for name in names]):
        assert [config.resolution_px for config in configs] == [60, 60, 70, 80, 90, 100, 110, 120]
        assert [config.width for config in configs] == [2.0, 2.2, 2.4, 2.8, 3.6, 4.4, 5.2, 6.2]


def test_dropout_acts_only_in_training():
    model = create_model("wide_resnet", num_classes=3, dropout=0.5)
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in model.layers) == 3
    patch = make_patch()
    np.testing.assert_array_equal(model(patch, training=False), model(patch, training=False))
    assert not np.array_equal(model(patch, training=True), model(patch, training=True))
    reference = create_model("wide_resnet_eca_b5", num_classes=3, **reference_overrides("wide_resnet_eca_b5"))
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in reference.layers) == 6


def test_ghost_convolutions_have_a_depthwise_branch_but_not_in_the_reference_form():
    ghost = create_model("wide_resnet_eca_ghost", num_classes=3)
    reference = create_model("wide_resnet_eca_ghost", num_classes=3, **reference_overrides("wide_resnet_eca_ghost"))
    for model, expected in ((ghost, 9), (reference, 0)):
        assert sum(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in model.layers) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"depth": 11}, "6 N"),
        ({"attention": "sa"}, "attention='sa': unknown; allowed: none, se, cbam"),
        ({"ghost": "yes"}, "ghost='yes': unknown; allowed: none, depthwise"),
        ({"resampling": "nearest"}, "resampling='nearest'"),
        ({"norm": "layer"}, "norm='layer'"),
        ({"width": 0, "dropout": 1.0}, r"Out of range: width=0, dropout=1.0"),
        ({"pool_whole_map": False, "resolution_px": 30}, "resolution_px >= 32"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("wide_resnet", num_classes=3, **override)
