"""Import of checkpoints: the predictions of the benchmark's code, the finished run, the model card and the errors."""

import dataclasses
import json
import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.checkpoint_import.importing import import_checkpoint, load_benchmark_model
from bigearth_tf.checkpoint_import.weights import load_weights, read_layers
from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.serving.export import export_run
from bigearth_tf.serving.exported_model import CARD_NAME
from bigearth_tf.serving.predictor import Predictor
from tests.support import warm_python
from tests.support.reference_graphs import BANDS, randomize, save, wide_resnet

# Sample -> its name here, the side of its image if the file does not determine it, and the tolerance of probabilities.
SAMPLES = {
    "WideResNet-ECA": ("wide_resnet_eca_b0", None, 2e-5),
    "WideResNet-ECA-B4": ("wide_resnet_eca_b4", 90, 2e-5),
    "ViT_20": ("vit_20", None, 2e-5),
    "MLPMixer_Tiny": ("mlp_mixer_tiny", None, 2e-5),
    "EfficientNetB0": ("efficientnet_b0", None, 2e-5),
    "EfficientNet-ECA-GHOST": ("efficientnet_eca_ghost", None, 1e-3),
}


@pytest.fixture(scope="module")
def samples(repository):
    """Checkpoints that the benchmark's code wrote, with its predictions."""
    folder = repository.parent / "shared" / "published_checkpoints"
    if not folder.is_dir():
        pytest.skip("no checkpoints of the benchmark next to the checkout")
    return folder


@pytest.mark.parametrize("sample", SAMPLES)
def test_predictions_are_those_of_the_benchmarks_code(sample, samples):
    name, resolution_px, tolerance = SAMPLES[sample]
    rows = [dataclasses.replace(row, dtype="float32", mean=0.0, std=1.0) for row in get_bands(BANDS)]
    imported = load_benchmark_model(samples / sample, resolution_px=resolution_px, bands=rows)
    assert imported.architecture.name == name
    assert imported.origin.remarks == (() if resolution_px is None else imported.origin.remarks)
    inputs, outputs = np.load(samples / "inputs.npz"), np.load(samples / sample / "outputs.npz")
    logits = imported.model({row.name: inputs[row.name] for row in rows}, training=False)
    np.testing.assert_allclose(tf.sigmoid(logits), outputs["probs"], atol=tolerance)


def test_the_optimizer_in_a_training_checkpoint_is_skipped(samples):
    imported = load_benchmark_model(samples / "MLPMixer_Tiny_trained_with_optimizer")
    assert (imported.architecture.name, imported.origin.checkpoint) == ("mlp_mixer_tiny", "checkpoints-2")


@pytest.fixture(scope="module")
def graph():
    return randomize(wide_resnet("se", True, size_px=60))


@pytest.fixture(scope="module")
def archive(graph, tmp_path_factory):
    """A zip like those of the benchmark, under the name of another model."""
    folder = tmp_path_factory.mktemp("published")
    save(graph, folder)
    (folder / "checkpoint").write_text('model_checkpoint_path: "/somewhere/checkpoints-4"\n')
    path = folder / "WideResNet-CBAM.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("checkpoint", "checkpoints-4.index", "checkpoints-4.data-00000-of-00001"):
            file.write(folder / name, f"checkpoint_WideResNet/{name}")
    return path


@pytest.fixture(scope="module")
def imported(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imports") / "some" / "model"
    import_checkpoint(archive, folder)
    return folder


def make_patch(seed=0):
    rng = np.random.default_rng(seed)
    return {
        band.name: rng.integers(0, 4000, (band.size_px, band.size_px)).astype(band.dtype) for band in get_bands("S2")
    }


def test_an_import_is_a_finished_run_and_a_saved_model(imported, graph):
    patch = make_patch()
    predictor = Predictor(imported / "saved_model")
    assert predictor.class_names == CLASSES_19
    run = load_finished_run(imported)
    assert tuple(band.name for band in run.bands) == BANDS
    batch = {name: pixels[None] for name, pixels in patch.items()}
    probabilities = predictor([patch])
    np.testing.assert_allclose(tf.sigmoid(run.model(batch, training=False)), probabilities, atol=1e-6)
    # The same by hand: standardized, all at 60 px by bicubic interpolation, B04 first.
    image = [(patch[band.name] - band.mean) / band.std for band in get_bands(BANDS)]
    fine = tf.image.resize(np.stack(image[:4], -1).astype(np.float32), (60, 60), "bicubic")
    stacked = tf.concat([fine, np.stack(image[4:], -1).astype(np.float32)], -1)[None]
    np.testing.assert_allclose(tf.sigmoid(graph(stacked, training=False)), probabilities, atol=1e-4)


def test_the_model_card_has_the_origin_and_no_scores(imported):
    card = json.loads((imported / "saved_model" / CARD_NAME).read_text())
    origin = card["imported_from"]
    assert card["scores"] == {}
    assert (card["model"], origin["published_name"]) == ("wide_resnet_se_ghost", "WideResNet-SE-Ghost")
    assert (origin["file"], origin["checkpoint"]) == ("WideResNet-CBAM.zip", "checkpoints-4")
    assert list(origin["sha256"]) == ["checkpoints-4.data-00000-of-00001"]
    (remark,) = origin["remarks"]
    assert "The file is called WideResNet-CBAM" in remark
    assert list(card["inputs"]) == list(BANDS)
    text = (imported / "saved_model" / "README.md").read_text()
    assert "Its scores are not known here" in text
    assert remark in text
    assert "| 18 | Marine waters |" in text
    assert "F1" not in text


def test_an_import_can_be_exported_again_and_only_an_import_is_replaced(imported, archive, tmp_path):
    export_run(imported, tmp_path / "again")
    np.testing.assert_array_equal(
        Predictor(tmp_path / "again")([make_patch()]), Predictor(imported / "saved_model")([make_patch()])
    )
    (imported / "stale").touch()
    import_checkpoint(archive, imported)
    assert not (imported / "stale").exists()
    assert os.listdir(imported.parent) == ["model"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "result.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other: contains something other than an imported model"):
        import_checkpoint(archive, other)


def test_a_failed_import_leaves_no_files(archive, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("bigearth_tf.checkpoint_import.importing.export_run", fail)
    with pytest.raises(OSError, match="no space left"):
        import_checkpoint(archive, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_layers_without_a_counterpart_are_listed_for_both_sides(archive):
    prefix = archive.parent / "checkpoints-4"
    model = create_model("wide_resnet_se", num_classes=19)
    with pytest.raises(ValueError) as error:
        load_weights(model, read_layers(prefix), prefix)
    head, file_alone, model_alone = str(error.value).splitlines()
    assert "of its 33 layers match the model built from its shapes, and " in head
    assert file_alone.startswith("Only in the file: ")
    assert "1 x kernel [1, 1, 16, 16]; " in file_alone
    assert model_alone.startswith("Only in the model: ")
    assert "1 x kernel [1, 1, 16, 32]; " in model_alone


def test_weights_that_are_not_finite_are_refused(tmp_path):
    graph = wide_resnet("none", False, size_px=60)
    graph.layers[1].kernel.assign(np.full(graph.layers[1].kernel.shape, np.nan))
    with pytest.raises(ValueError, match="layer_with_weights-0/kernel.* not finite"):
        load_benchmark_model(save(graph, tmp_path))


def test_the_command_prints_the_recognized_model(archive, tmp_path, repository):
    command = ["-m", "experiments.import_checkpoint", f"--checkpoint={archive}", "--output=model"]
    environment = {**os.environ, "PYTHONPATH": str(repository), "CUDA_VISIBLE_DEVICES": ""}
    result = warm_python.run(command, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert (
        "WideResNet-CBAM.zip: WideResNet-SE-Ghost, checkpoints-4\nrecognized as wide_resnet_se_ghost (" in result.stdout
    )
    assert "The file is called WideResNet-CBAM" in result.stderr
