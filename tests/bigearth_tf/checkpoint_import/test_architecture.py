"""Recognition of the benchmark's models by the keys and shapes of their weights, and its error messages."""

import ast
import dataclasses
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bigearth_tf.checkpoint_import.architecture import find_name_conflict, recognize
from bigearth_tf.checkpoint_import.weights import parse_layers
from bigearth_tf.models.reference_names import REFERENCE_NAMES
from bigearth_tf.models.registry import create_model, reference_config

NINETEEN = 19


@pytest.fixture(scope="module")
def key_lists(repository):
    """Name -> keys and shapes of a model of the benchmark, or of a hypothesis of one."""
    path = repository.parent / "shared" / "reference" / "published_checkpoint_keys.tar.gz"
    if not path.is_file():
        pytest.skip("no lists of keys next to the checkout")
    lists = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.endswith(".tsv"):
                rows = archive.extractfile(member).read().decode().splitlines()
                lists[Path(member.name).stem] = {
                    key: ast.literal_eval(shape) for key, shape, _ in (row.split("\t") for row in rows)
                }
    return lists


def layers_of(key_lists, name):
    return parse_layers(key_lists[name], name)


def test_every_name_with_known_shapes_is_recognized(key_lists):
    stems = {theirs: theirs.replace("/", "_") for theirs in REFERENCE_NAMES}
    listed = {theirs: stem for theirs, stem in stems.items() if stem in key_lists}
    assert len(listed) >= 40
    for theirs, stem in listed.items():
        architecture = recognize(layers_of(key_lists, stem))
        assert (architecture.name, architecture.is_exact) == (REFERENCE_NAMES[theirs], True)
        assert architecture.published_name == theirs
        assert architecture.config == reference_config(architecture.name)


def test_every_hypothesis_of_a_scaled_model_is_recognized(key_lists):
    hypotheses = [name for name in key_lists if name[-2] == "."]
    assert len(hypotheses) >= 56
    for name in hypotheses:
        architecture = recognize(layers_of(key_lists, name), None if name.startswith("ViTM") else 80)
        family = "wide_resnet" if name.startswith("Wide") else "efficientnet_eca" if "-ECA" in name else "vit"
        assert architecture.name.startswith(family), name


def test_a_scaled_model_requires_its_resolution(key_lists):
    layers = layers_of(key_lists, "WideResNet-ECA-B4.B")
    with pytest.raises(ValueError, match=r"--resolution_px.* 70 \(B2\).* 90 is that of wide_resnet_eca_b4"):
        recognize(layers)
    assert recognize(layers, 90).config == reference_config("wide_resnet_eca_b4")
    assert recognize(layers, 80).overrides["resolution_px"] == 80


def test_a_resolution_that_contradicts_the_shapes_is_refused(key_lists):
    for name in ("ViT_20", "MLPMixer", "ResNet50"):
        with pytest.raises(ValueError, match="resolution_px=60: a .* sees 120 px"):
            recognize(layers_of(key_lists, name), 60)


def test_a_network_of_dense_layers_is_refused_under_any_name(key_lists):
    with pytest.raises(ValueError, match="no convolutional network.*144000 -> 128 -> 64 -> 19"):
        recognize(layers_of(key_lists, "dense"))


def test_the_squeeze_of_older_efficientnets_is_recognized(key_lists):
    keys = {}
    for key, shape in key_lists["EfficientNet-SE"].items():
        if len(shape) == 2 and shape[1] == shape[0] // 16:
            shape = [shape[0], shape[0] // 2]
        elif len(shape) == 2 and shape[0] == shape[1] // 16:
            shape = [shape[1] // 2, shape[1]]
        keys[key] = shape
    architecture = recognize(parse_layers(keys, "old"))
    assert (architecture.name, architecture.overrides["attention"]) == ("efficientnet_se", "se_half_published")
    model = create_model(architecture.name, num_classes=19, **architecture.overrides)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 10954211


def test_the_error_for_unknown_layers_gives_a_reason_for_each_family(key_lists):
    keys = {key: [5, 5, 10, 16] if shape == [3, 3, 10, 16] else shape for key, shape in key_lists["WideResNet"].items()}
    with pytest.raises(ValueError) as error:
        recognize(parse_layers(keys, "x"))
    assert "WideResNet: the first kernel is [5, 5, 10, 16]" in str(error.value)
    assert "MLP-Mixer: " in str(error.value)
    seven = {key: [3, 3, 7, 16] if shape == [3, 3, 10, 16] else shape for key, shape in key_lists["WideResNet"].items()}
    with pytest.raises(ValueError, match="the stem takes 7 channels; the benchmark's models take 10 or 12"):
        recognize(parse_layers(seven, "x"))


def test_unknown_keys_are_listed_and_those_of_training_skipped():
    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    keys = {f"model/layer_with_weights-0/kernel{end}": [3, 19], f"generator/kernel{end}": [3, 3]}
    with pytest.raises(ValueError, match="1 layers have keys such as its .*generator/kernel"):
        parse_layers(keys, "x")
    # Keys of the training are skipped.
    training = ("save_counter", "optimizer/iter", "model/layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/m")
    keys = {f"model/layer_with_weights-0/kernel{end}": [3, 19], **{f"{key}{end}": [] for key in training}}
    (layer,) = parse_layers({**keys, "_CHECKPOINTABLE_OBJECT_GRAPH": []}, "x")
    assert layer.kernel == (3, NINETEEN)


@pytest.mark.parametrize(
    ("file_name", "contradicts"),
    [
        ("checkpoint_WideResNet-SE-Ghost", True),
        ("WideResNet", True),
        ("ResNet50", True),
        ("WideResNet-ECA", False),
        ("wide_resnet_eca (1)", False),
        ("checkpoint_WideResNet", False),  # The benchmark's code saved every variant under this name.
        ("ckpt", False),
    ],
)
def test_a_file_name_that_contradicts_the_shapes_is_reported(file_name, contradicts, key_lists):
    architecture = recognize(layers_of(key_lists, "WideResNet-ECA"))
    warning = find_name_conflict(file_name, architecture)
    assert bool(warning) == contradicts
    if contradicts:
        assert file_name in warning
        assert "wide_resnet_eca_b0" in warning


def test_a_similar_model_has_no_name_of_the_benchmark(key_lists):
    architecture = recognize(layers_of(key_lists, "ViTM_20.H3"))
    assert architecture.published_name is None
    assert (architecture.config.dim, architecture.config.num_heads, architecture.config.depth) == (128, 8, 12)
    assert dataclasses.replace(reference_config("vitm_20"), **architecture.overrides) == architecture.config
