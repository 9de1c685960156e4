"""Models and encoders created by name: bands, precision, head, and the errors for unknown names."""

import keras
import numpy as np
import pytest

from bigearth_tf.models.registry import create_encoder, create_model, list_models, reference_config
from tests.support.batches import make_batch


@pytest.mark.parametrize("bands", ["S1", "S2", "MM", "RGB", "S2_ALL"])
def test_every_band_reaches_the_logits(bands):
    model = create_model("wide_resnet_eca_b0", bands=bands, num_classes=3)
    batch = make_batch(bands)
    logits = model(batch).numpy()
    for name in batch:
        changed = {**batch, name: batch[name][::-1].copy()}
        assert not np.allclose(model(changed), logits), f"{name} has no influence"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_lower_precision_changes_the_logits_little(policy):
    keras.utils.set_random_seed(1)
    expected = create_model("wide_resnet_eca_b0", num_classes=3)(make_batch())
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy(policy)
    try:
        logits = create_model("wide_resnet_eca_b0", num_classes=3)(make_batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, expected, atol=0.1)
    assert not np.array_equal(logits, expected)


def test_an_encoder_is_the_model_without_its_head():
    keras.utils.set_random_seed(1)
    encoder = create_encoder("wide_resnet_eca_b0", bands="RGB")
    keras.utils.set_random_seed(1)
    model = create_model("wide_resnet_eca_b0", bands="RGB", num_classes=3)
    batch = make_batch("RGB")
    assert encoder.output_shape == (None, 128)
    features = encoder(batch)
    np.testing.assert_array_equal(keras.Model(model.inputs, model.get_layer("features").output)(batch), features)
    np.testing.assert_allclose(model.get_layer("logits")(features), model(batch), atol=1e-6)


def test_errors_for_unknown_names_and_overrides_suggest_similar_ones():
    with pytest.raises(ValueError, match=r"Unknown model 'wide_resnet_eca'; did you mean wide_resnet_eca_b\d, "):
        create_model("wide_resnet_eca", num_classes=3)
    with pytest.raises(ValueError, match="has no field 'witdh'; did you mean width"):
        create_model("wide_resnet", num_classes=3, witdh=3)
    with pytest.raises(ValueError, match="wide_resnet_ghost has no reference form; did you mean wide_resnet"):
        reference_config("wide_resnet_ghost")


def test_list_models_takes_a_pattern():
    assert set(list_models("wide_resnet_*_ghost")) == {
        f"wide_resnet_{attention}_ghost" for attention in ("se", "cbam", "coordinate", "eca")
    }
    assert list_models("no such") == ()
