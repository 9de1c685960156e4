"""Import of rebuilt graphs of the benchmark's code: every weight must be in its place.

Each graph is rebuilt from its description with random weights, saved as the benchmark's training saves it, imported,
and its outputs for random images are compared with those of the import.
"""

import ast
import dataclasses
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.checkpoint_import.importing import load_benchmark_model
from bigearth_tf.data.bands import get_bands
from tests.support.reference_graphs import (
    BANDS,
    efficientnet,
    keras_application,
    mlp_mixer,
    randomize,
    save,
    vision_transformer,
    wide_resnet,
)

ATTENTIONS = ("none", "se", "cbam", "coordinate", "eca")
# Name -> function that builds its graph.
OTHERS = {
    "vit_30": lambda: vision_transformer(30),
    "mlp_mixer": mlp_mixer,
    "mlp_mixer_tiny": lambda: mlp_mixer(depth=2, dim=64, channels_dim=64),
    "vgg16": lambda: keras_application("VGG16"),
    "resnet50": lambda: keras_application("ResNet50"),
    "densenet121": lambda: keras_application("DenseNet121"),
    "efficientnet_b0": lambda: keras_application("EfficientNetB0"),
}
IN_EVERY_RUN = ("vit_30", "mlp_mixer", "mlp_mixer_tiny")


@pytest.fixture(autouse=True)
def clear_session():
    yield
    tf.keras.backend.clear_session()


def stacked_rows(size_px, names=BANDS):
    """Returns bands that are already one stacked, standardized image."""
    return tuple(
        dataclasses.replace(band, size_px=size_px, dtype="float32", mean=0.0, std=1.0) for band in get_bands(names)
    )


def assert_same_after_import(graph, folder, *, resolution_px=None, names=BANDS, tolerance=1e-4):
    """Imports a graph's weights, compares the outputs, and returns the import."""
    size_px = graph.input_shape[1]
    rows = stacked_rows(size_px, names)
    images = np.random.default_rng(1).normal(0, 1, (8, size_px, size_px, len(names))).astype(np.float32)
    randomize(graph)
    for layer in graph.submodules:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.1
    for _ in range(2):  # Norms take the statistics of the features, which then neither vanish nor explode.
        graph(images, training=True)
    prefix = save(graph, folder)
    imported = load_benchmark_model(prefix, resolution_px=resolution_px, bands=rows)
    images = images[:3]
    expected = graph(images, training=False).numpy()
    found = imported.model({band.name: images[..., i] for i, band in enumerate(rows)}, training=False).numpy()
    # The outputs must depend on the image; otherwise a wrong weight could stay unnoticed.
    spread = np.ptp(expected, axis=0).max()
    assert spread > 1e-2
    np.testing.assert_allclose(found, expected, atol=tolerance * spread)
    assert sum(np.prod(v.shape) for v in graph.variables) == imported.model.count_params()
    return imported


@pytest.mark.parametrize(
    ("attention", "ghost"),
    [
        *((attention, True) for attention in ATTENTIONS),
        ("none", False),
        *(pytest.param(attention, False, marks=pytest.mark.full) for attention in ATTENTIONS[1:]),
    ],
)
def test_wide_resnet(attention, ghost, tmp_path):
    # At 32 px, the last map is one window of the pooling.
    graph = wide_resnet(attention, ghost, size_px=32)
    imported = assert_same_after_import(graph, tmp_path, resolution_px=32)
    config = imported.architecture.config
    assert config.attention.replace("_published", "") == attention
    assert config.ghost == ("published" if ghost else "none")


@pytest.mark.parametrize("attention", ["eca", pytest.param("cbam", marks=pytest.mark.full)])
def test_wide_resnet_with_more_blocks_and_another_width(attention, tmp_path):
    graph = wide_resnet(attention, True, size_px=32, stage_channels=(36, 72, 140), blocks=3)
    imported = assert_same_after_import(graph, tmp_path, resolution_px=32)
    assert (imported.architecture.config.depth, imported.architecture.config.width) == (22, 2.2)


def test_wide_resnet_with_the_old_twelve_bands_and_depth(tmp_path):
    graph = wide_resnet("se", False, size_px=32, num_channels=12, blocks=2)
    imported = assert_same_after_import(graph, tmp_path, resolution_px=32, names=(*BANDS, "B01", "B09"))
    assert imported.architecture.bands[-2:] == ("B01", "B09")
    assert imported.architecture.config.depth == 16


@pytest.mark.parametrize(
    ("attention", "ghost"),
    [
        ("coordinate", True),
        *(
            pytest.param(attention, ghost, marks=pytest.mark.full)
            for attention in ATTENTIONS[1:]
            for ghost in (False, True)
            if (attention, ghost) != ("coordinate", True)
        ),
    ],
)
def test_efficientnet_with_attention(attention, ghost, tmp_path):
    graph = efficientnet(attention, ghost, size_px=32)
    # Rounding errors grow through 16 blocks.
    imported = assert_same_after_import(graph, tmp_path, resolution_px=32, tolerance=2e-3)
    assert imported.architecture.config.attention.replace("_published", "") == attention


@pytest.mark.full
def test_efficientnet_with_more_blocks(tmp_path):
    graph = efficientnet("cbam", True, size_px=32, repeats=(2, 3, 3, 4, 4, 5, 2))
    imported = assert_same_after_import(graph, tmp_path, resolution_px=32, tolerance=2e-3)
    assert imported.architecture.config.depth == 1.1


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.full) for name in OTHERS]
)
def test_models_of_120_px(name, tmp_path):
    imported = assert_same_after_import(OTHERS[name](), tmp_path, tolerance=2e-3)
    assert imported.architecture.name == name
    assert imported.architecture.is_exact


def listed_keys(repository, name):
    """Returns key -> shape of a model of the benchmark; skips the test without the lists of keys."""
    path = repository.parent / "shared" / "reference" / "published_checkpoint_keys.tar.gz"
    if not path.is_file():
        pytest.skip("no lists of keys next to the checkout")
    with tarfile.open(path) as archive:
        (member,) = (member for member in archive if Path(member.name).name == f"{name}.tsv")
        rows = archive.extractfile(member).read().decode().splitlines()
    return {key: ast.literal_eval(shape) for key, shape, _ in (row.split("\t") for row in rows)}


@pytest.mark.parametrize(
    ("name", "attention", "ghost"),
    [
        (f"WideResNet{'' if theirs is None else '-' + theirs}{ghost}", ours, bool(ghost))
        for theirs, ours in ((None, "none"), ("SE", "se"), ("CBAM", "cbam"), ("COORD", "coordinate"), ("ECA", "eca"))
        for ghost in ("", "-GHOST" if theirs == "ECA" else "-Ghost")
        if theirs or not ghost
    ],
)
def test_rebuilt_wide_resnets_have_the_keys_of_the_benchmark(repository, name, attention, ghost, tmp_path):
    prefix = save(wide_resnet(attention, ghost, size_px=60), tmp_path)
    assert saved_keys(prefix) == listed_keys(repository, name)


@pytest.mark.full
@pytest.mark.parametrize(("name", "attention"), [("COORD", "coordinate"), ("CBAM", "cbam")])
def test_rebuilt_efficientnets_have_the_keys_of_the_benchmark(repository, name, attention, tmp_path):
    prefix = save(efficientnet(attention, True, size_px=60), tmp_path)
    assert saved_keys(prefix) == listed_keys(repository, f"EfficientNet-{name}-GHOST")


def saved_keys(prefix):
    shapes = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    return {key: shape for key, shape in shapes.items() if re.match("model/", key)}
