"""Export: the same predictions as the trained model by band name, the model card, and what is refused."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import DataConfig, TrainConfig
from bigearth_tf.data.bands import get_bands
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.models.registry import create_model
from bigearth_tf.runs.work_folder import load_finished_run
from bigearth_tf.runtime.locks import hold_lock_beside
from bigearth_tf.serving.decisions import Decisions
from bigearth_tf.serving.export import export_run, save_model
from bigearth_tf.serving.exported_model import CARD_NAME
from bigearth_tf.serving.model_card import format_card, make_card
from bigearth_tf.serving.predictor import Predictor
from bigearth_tf.training.train import train
from tests.support.records import CLASS_NAMES, write_records

BANDS = "B03,B05,B02"  # Two native sizes, in an unusual order.


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    write_records(root / "records", {"train": 16, "val": 6, "test": 6}, bands=BANDS)
    config = TrainConfig(
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(data_dir=str(root / "records"), bands=BANDS),
        epochs=1,
        global_batch_size=8,
    )
    train(config, root / "workdir", Replica())
    return root / "workdir"


@pytest.fixture(scope="module")
def exported(workdir):
    return export_run(workdir, workdir.parent / "model")


def make_patches(count):
    rng = np.random.default_rng(0)
    return [
        {band.name: rng.integers(0, 4000, (band.size_px, band.size_px)).astype(band.dtype) for band in get_bands(BANDS)}
        for _ in range(count)
    ]


def test_an_export_that_another_process_writes_is_refused(workdir, tmp_path):
    with hold_lock_beside(tmp_path / "model"), pytest.raises(ValueError, match="model: in use by process"):
        export_run(workdir, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 5])
def test_it_predicts_like_the_trained_model_by_band_name(workdir, exported, count):
    patches = make_patches(count)
    predictor = Predictor(exported)
    assert predictor.class_names == CLASS_NAMES
    assert predictor.inputs == {"B02": (120, "uint16"), "B03": (120, "uint16"), "B05": (60, "uint16")}
    batch = {name: np.stack([patch[name] for patch in patches]) for name in patches[0]}
    expected = tf.sigmoid(load_finished_run(workdir).model(batch))
    # Bands are matched by name: their order and other bands do not matter.
    shuffled = [{"B11": np.zeros((60, 60), np.uint16), **dict(reversed(patch.items()))} for patch in patches]
    np.testing.assert_allclose(predictor(shuffled), expected, atol=1e-6)


def test_the_snippet_of_the_card_needs_nothing_of_this_package(exported):
    """It predicts eagerly, in a graph and in a pipeline, from the names and sizes of the card alone."""
    (snippet,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)
    script = f"""{snippet}
import gc, sys
gc.collect()
one = tf.ones([1, 120, 120], tf.uint16)
print(tf.function(predict)({{**bands, "B02": one}}))
for wrong in (tf.zeros([1, 120, 120]), tf.zeros([1, 60, 60], tf.uint16)):
    for call in (predict, tf.function(predict)):
        try:
            call({{**bands, "B02": wrong}})
        except Exception as error:
            assert "band B02" in str(error) or "B02: TensorSpec" in str(error), error
        else:
            raise AssertionError("not refused")
assert not any(name.startswith("bigearth") for name in sys.modules)
print("all run")
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=exported, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    answers = re.findall(r"tf.Tensor\((\[\[.*?\]\])", result.stdout)
    assert len(answers) == 4
    assert len(set(answers[:3])) == 1 and answers[3] != answers[0]
    assert result.stdout.endswith("all run\n")


def test_an_empty_batch_has_an_empty_answer(exported):
    predictor = Predictor(exported)
    assert predictor([]).shape == (0, 3)
    empty = {name: np.zeros((0, size_px, size_px), dtype) for name, (size_px, dtype) in predictor.inputs.items()}
    assert predictor.predict_batch(empty).shape == (0, 3)


@pytest.mark.parametrize(
    "shape", [(2, 60, 60), (2, 120, 60), (120, 120), (2, 120, 120, 1), (3, 120, 120), (0, 120, 120)]
)
def test_the_graph_names_a_band_of_another_size(exported, shape):
    model = tf.saved_model.load(str(exported))
    bands = {"B03": tf.zeros([2, 120, 120], tf.uint16), "B05": tf.zeros([2, 60, 60], tf.uint16)}
    message = r"takes band B02 as uint16 \[N, 120, 120\], with the same N as B03. Its shape is"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.signatures["serving_default"](**bands, B02=tf.zeros(shape, tf.uint16))


def test_it_can_be_trained_further(tmp_path):
    # The model has swishes, whose gradients TensorFlow must save, too.
    model = create_model("wide_resnet", bands=BANDS, num_classes=3, resolution_px=15, attention="se_published")
    (patch,) = make_patches(1)
    batch = {name: tf.constant(pixels[None]) for name, pixels in patch.items()}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sigmoid(model(batch, training=False))[:, 0])
    expected = tape.gradient(loss, model.trainable_variables)
    save_model(model, get_bands(BANDS), CLASS_NAMES, tmp_path / "model")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    trainable = [weight for weight in loaded.weights if weight.trainable]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded.signatures["serving_default"](**batch)["probabilities"][:, 0])
    gradients = tape.gradient(loss, trainable)
    assert [weight.shape for weight in trainable] == [weight.shape for weight in model.trainable_variables]
    for gradient, own in zip(gradients, expected):
        np.testing.assert_allclose(gradient, own, rtol=1e-3, atol=1e-4 * np.abs(own).max())


def test_the_card_has_inputs_classes_scores_and_data(workdir, exported):
    card = json.loads((exported / CARD_NAME).read_text())
    assert card["class_names"] == list(CLASS_NAMES)
    row = card["inputs"]["B05"]
    assert (row["size_px"], row["dtype"], row["unit"]) == (60, "uint16", "reflectance x 10000")
    assert row["mean"] == 950.68368468
    assert card["scores"]["test"] == json.loads((workdir / "result.json").read_text())["test"]
    assert card["dataset"]["num_records"] == {"train": 16, "val": 6, "test": 6}
    assert card["config"]["model_overrides"] == "resolution_px=15, width=0.5"
    assert "tensorflow" in str(card["versions"])
    text = (exported / "README.md").read_text()
    assert "| `B05` | S2 | [N, 60, 60] | uint16 | reflectance x 10000 |" in text
    assert card["sentinel2"] == {"level": None, "dn_offset": 0}, "the data set of this test has no spec"
    assert "have no record in test" not in text
    card["scores"]["test_classes"][CLASS_NAMES[1]]["support"] = 0.0
    assert "1 of 3 classes have no record in test: they count as 0 in macro scores" in format_card(card)


@pytest.mark.parametrize(
    ("dataset", "level", "words"),
    [
        (
            "bigearthnet_v2",
            "L2A",
            "must be of Level-2A (reflectance at the surface), as digital numbers without an offset",
        ),
        ("eurosat_ms", "L1C", "must be of Level-1C (reflectance at the top of the atmosphere)"),
    ],
)
def test_the_card_says_the_level_and_the_offset_of_sentinel_2(workdir, dataset, level, words):
    run = load_finished_run(workdir)
    named = dataclasses.replace(run.settings.dataset, name=dataset)
    run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, dataset=named))
    card = make_card(run, Decisions())
    assert card["sentinel2"] == {"level": level, "dn_offset": 0}
    text = " ".join(format_card(card).split())
    assert words in text
    assert {"L2A": "`BOA_ADD_OFFSET`", "L1C": "`RADIO_ADD_OFFSET`"}[level] in text
    assert "usually -1000: add it to the DN" in text


def test_an_earlier_export_is_replaced_and_another_folder_is_not(workdir, exported):
    (exported / "stale").touch()
    (exported.parent / f".{exported.name}.tmp").mkdir()  # Left by an export that was killed.
    export_run(workdir, exported)
    assert not (exported / "stale").exists()
    assert not [path for path in exported.parent.iterdir() if path.name.startswith(".")]
    with pytest.raises(ValueError, match="exists and is not an export"):
        export_run(workdir, workdir)


def test_a_missing_model_and_wrong_bands_are_refused(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no SavedModel here"):
        Predictor(tmp_path)
    (patch,) = make_patches(1)
    predictor = Predictor(exported)
    with pytest.raises(ValueError, match=r"takes band B05 as uint16 \[60, 60\]; in this patch it is missing"):
        predictor([{name: pixels for name, pixels in patch.items() if name != "B05"}])
    with pytest.raises(ValueError, match=r"takes band B02 .*it is float32 \[120, 120\]"):
        predictor([{**patch, "B02": patch["B02"].astype(np.float32)}])
