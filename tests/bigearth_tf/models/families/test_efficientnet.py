"""EfficientNets with attention: the default form against the paper, the reference form against the benchmark's code."""

import dataclasses

import keras
import numpy as np
import pytest

from bigearth_tf.data.bands import get_bands
from bigearth_tf.models.families.efficientnet import REFERENCE, VARIANTS, Config, list_blocks, round_to_8
from bigearth_tf.models.registry import (
    create_encoder,
    create_model,
    model_config,
    reference_config,
    reference_overrides,
)

# Table 1 of the paper: kernel, channels, stride of the first block, blocks; the expansion is from its figure and text.
PAPER = [(3, 16, 1, 1, 1), (3, 24, 2, 2, 6), (5, 40, 2, 2, 6), (3, 80, 2, 3, 6), (5, 112, 1, 3, 6), (5, 192, 2, 4, 6),
         (3, 320, 1, 1, 6)]  # fmt: skip


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def make_patch(size=1):
    rng = np.random.default_rng(0)
    return {
        band.name: rng.integers(0, 5000, (size, band.size_px, band.size_px)).astype(band.dtype)
        for band in get_bands("S2")
    }


def layers_of(model, kind):
    return [layer for layer in model.layers if type(layer) is kind]


def branch_dropouts(model):
    """Returns layer name -> dropout of a residual branch."""
    return {layer.name: layer for layer in layers_of(model, keras.layers.Dropout) if layer.name != "features"}


# Computed by hand; 8 is much less than 11, and 32 is 9.1 % less than 35.2.
@pytest.mark.parametrize(
    ("channels", "rounded"), [(1, 8), (11, 16), (12, 16), (19.2, 24), (26.4, 24), (32, 32), (35.2, 32), (44, 48)]
)
def test_channels_are_rounded_to_multiples_of_8_and_never_much_down(channels, rounded):
    assert round_to_8(channels) == rounded


def test_width_1_and_depth_1_match_the_table_of_the_paper():
    expected = []
    for kernel, channels, stride, repeats, expansion in PAPER:
        expected += [(kernel, channels, stride if index == 0 else 1, expansion) for index in range(repeats)]
    rows = [(block.kernel, block.channels, block.stride, block.expansion) for block in list_blocks(Config())]
    assert rows == expected
    model = create_encoder("efficientnet_se", attention="none", resolution_px=64)
    sides = [model.get_layer(f"stage{stage}_block1_depthwise").output.shape[1] for stage in range(1, 8)]
    assert sides == [32, 16, 8, 4, 4, 2, 2]
    assert model.get_layer("top_conv").output.shape[1:] == (2, 2, 1280)
    assert model.output.shape == (None, 1280)


def test_parameters_without_attention_match_keras_applications():
    # keras.applications.EfficientNetB0 with 10 bands and 19 classes has 4,033,903; its squeeze-and-excitation squeezes
    # to a quarter of the block's input channels.
    gates, channels_in = 0, 32
    for block in list_blocks(Config()):
        inside, squeezed = channels_in * block.expansion, channels_in // 4
        gates += inside * squeezed + squeezed + squeezed * inside + inside
        channels_in = block.channels
    model = create_model("efficientnet_se", attention="none", num_classes=19)
    assert trainable(model) == 4_033_903 - gates


@pytest.mark.parametrize(("depth", "repeats"), [(0.5, "1112221"), (1.0, "1223341"), (1.1, "2334452"), (2.0, "2446682")])
def test_the_number_of_blocks_is_scaled_and_rounded_up(depth, repeats):
    names = [block.name for block in list_blocks(Config(depth=depth))]
    assert names == [f"stage{s}_block{b}" for s in range(1, 8) for b in range(1, int(repeats[s - 1]) + 1)]


def test_b_models_scale_equally_in_both_forms():
    names = [f"efficientnet_eca_b{index}" for index in range(8)]
    for configs in ([model_config(name) for name in names], [reference_config(name) for name in names]):
        assert [len(list_blocks(config)) for config in configs] == [16, 16, 23, 23, 26, 29, 32, 32]
        assert [round_to_8(1280 * config.width) for config in configs] == [
            1280, 1408, 1536, 1792, 2304, 2816, 3328, 3968]  # fmt: skip
        assert [config.resolution_px for config in configs] == [60, 60, 70, 80, 90, 100, 110, 120]


# Counts of the benchmark's code: trainable and all parameters, and tensors.
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        pytest.param("efficientnet_cbam_ghost", (3001971, 3054819, 478), marks=pytest.mark.full),
        pytest.param("efficientnet_coordinate", (4149287, 4191967, 462), marks=pytest.mark.full),
        ("efficientnet_eca_ghost", (2050815, 2103663, 430)),
    ],
)
def test_parameters_of_the_reference_form(name, counts):
    model = create_model(name, num_classes=19, **reference_overrides(name))
    assert (trainable(model), model.count_params(), len(model.weights)) == counts


def test_all_reference_forms_have_the_same_deviations():
    assert set(REFERENCE) == set(VARIANTS)
    deviations = {"attention", "ghost", "drop_connect", "resampling", "norm", "stochastic_depth", "conv_bias",
                  "always_expand", "swish_after_attention"}  # fmt: skip
    for name, config in VARIANTS.items():
        reference = dataclasses.asdict(REFERENCE[name])
        found = {field for field, value in dataclasses.asdict(config).items() if reference[field] != value}
        kept = {"attention"} if config.attention == "cbam" else set()
        kept |= {"ghost"} if config.ghost == "none" else set()
        assert found == deviations - kept


def test_the_rate_of_dropped_branches_grows_from_block_to_block():
    layers = branch_dropouts(create_encoder("efficientnet_se", attention="none", drop_connect=0.32))
    # Of 16 blocks, nine keep their shape: the third, fifth, seventh, ...
    order = [2, 4, 6, 7, 9, 10, 12, 13, 14]
    names = ["2_block2", "3_block2", "4_block2", "4_block3", "5_block2", "5_block3", "6_block2", "6_block3", "6_block4"]
    rates = {name: round(layer.rate, 9) for name, layer in layers.items()}
    assert rates == {f"stage{name}_drop": round(0.02 * index, 9) for name, index in zip(names, order)}
    assert not branch_dropouts(create_encoder("efficientnet_se", depth=0.5, drop_connect=0))


def test_dropout_drops_whole_branches_and_in_the_reference_form_single_values():
    keras.utils.set_random_seed(0)
    ones = np.ones((64, 4, 4, 3), np.float32)
    # Ten blocks; in the stages 4 to 6 the second of two keeps the shape.
    small = {"attention": "none", "depth": 0.5}
    whole = branch_dropouts(create_encoder("efficientnet_se", **small, drop_connect=0.5))["stage6_block2_drop"]
    result = np.asarray(whole(ones, training=True))
    lost = (result == 0).all((1, 2, 3))
    assert 10 < lost.sum() < 50
    np.testing.assert_allclose(result[~lost], 1 / (1 - whole.rate), rtol=1e-5)
    np.testing.assert_array_equal(whole(ones, training=False), ones)

    layers = branch_dropouts(create_encoder("efficientnet_se", **{**reference_overrides("efficientnet_se"), **small}))
    assert [layer.rate for layer in layers.values()] == [0.1] * 3
    result = np.asarray(next(iter(layers.values()))(ones, training=True))
    assert not (result == 0).all((1, 2, 3)).any()
    assert (result == 0).mean() == pytest.approx(0.1, abs=0.03)


def outputs_of(encoder, *names):
    outputs = [encoder.get_layer(name).output for name in names]
    return [np.asarray(output) for output in keras.Model(encoder.input, outputs)(make_patch())]


def test_attention_follows_the_swish_and_in_the_reference_form_is_between_relu6_and_swish():
    keras.utils.set_random_seed(0)
    name = "stage4_block1"
    encoder = create_encoder("efficientnet_se", depth=0.25)
    norm, attended = outputs_of(encoder, f"{name}_depthwise_norm", f"{name}_attention")
    gates = attended / (norm / (1 + np.exp(-norm)))
    assert 0 < gates.min() < gates.max() < 1
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:, :1, :1], gates.shape), rtol=1e-3)

    assert reference_config("efficientnet_se").swish_after_attention
    encoder = create_encoder("efficientnet_se", depth=0.25, swish_after_attention=True)
    # A large scale, so that 6 is reached.
    encoder.get_layer(f"{name}_depthwise_norm").gamma.assign(np.full(240, 30, np.float32))
    ends = ("depthwise_norm", "attention", "depthwise_swish")
    norm, attended, swished = outputs_of(encoder, *(f"{name}_{end}" for end in ends))
    clipped = np.clip(norm, 0, 6)
    assert (norm > 6).any()
    # One gate for each channel, whether its pixels are clipped at 6 or not.
    seen = clipped.any((0, 1, 2))
    gates = attended[..., seen].sum((1, 2)) / clipped[..., seen].sum((1, 2))
    assert 0 < gates.min() < gates.max() < 1
    np.testing.assert_allclose(
        attended[..., seen], clipped[..., seen] * gates[:, np.newaxis, np.newaxis], rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(swished, attended / (1 + np.exp(-attended)), rtol=1e-4, atol=1e-6)


def test_ghost_convolutions_replace_the_pointwise_convolutions_of_blocks():
    # 16 blocks have a depthwise and a last convolution, 15 an expansion by more than 1.
    ghost = create_encoder("efficientnet_eca_ghost", attention="none")
    assert len(layers_of(ghost, keras.layers.DepthwiseConv2D)) == 16 + 16 + 15
    names = {layer.name for layer in layers_of(ghost, keras.layers.Conv2D)}
    assert {name for name in names if not name.endswith("_primary")} == {"stem_conv", "top_conv"}
    overrides = {**reference_overrides("efficientnet_eca_ghost"), "depth": 0.25}
    reference = create_encoder("efficientnet_eca_ghost", **overrides)
    assert len(layers_of(reference, keras.layers.DepthwiseConv2D)) == 7
    assert len(layers_of(reference, keras.layers.Conv2D)) == 2 + 7 + 7


@pytest.mark.parametrize("name", ["efficientnet_coordinate_ghost", "efficientnet_eca_b0"])
def test_only_the_reference_form_has_biases_before_norms(name):
    def biased(encoder):
        kinds = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
        found = {layer.name for kind in kinds for layer in layers_of(encoder, kind) if layer.use_bias}
        return {layer for layer in found if not layer.endswith("_gate")}

    assert not biased(create_encoder(name, depth=0.25))
    reference = biased(create_encoder(name, **{**reference_overrides(name), "depth": 0.25}))
    assert {"stem_conv", "top_conv", "stage1_block1_depthwise"} <= reference
    assert ("stage1_block1_expand_conv" in reference) == (not name.endswith("ghost"))


def test_dropout_before_the_head_acts_only_in_training():
    encoder = create_encoder("efficientnet_eca_b0", dropout=0.5, depth=0.25)
    pooled, features = outputs_of(encoder, "pool", "features")
    np.testing.assert_array_equal(pooled, features)
    assert encoder.layers[-1].name == "features"
    dropped = np.asarray(encoder.layers[-1](pooled, training=True))
    assert (dropped[pooled != 0] == 0).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"attention": "sa"}, "attention='sa': unknown; allowed: none, se, cbam"),
        ({"ghost": "yes"}, "ghost='yes': unknown; allowed: none, depthwise"),
        ({"resampling": "nearest"}, "resampling='nearest'"),
        ({"norm": "layer"}, "norm='layer'"),
        ({"depth": 0, "width": -1, "resolution_px": 7}, "depth=0, width=-1, resolution_px=7"),
        ({"dropout": 1.0, "drop_connect": -0.1}, r"dropout=1.0, drop_connect=-0.1"),
        ({"kernel": 3}, "no field 'kernel'"),
    ],
)
def test_invalid_overrides_are_refused(override, message):
    with pytest.raises(ValueError, match=message):
        create_model("efficientnet_se", num_classes=3, **override)
