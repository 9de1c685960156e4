"""The contact sheet of predictions: which classes it shows, and how."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from experiments.shared.plot_predictions import list_bars, plot_predictions
from experiments.shared.predict_patches import PatchPredictions
from tfrecord_tools.source import Patch


def make_found(num_patches, label_kind=LabelKind.MULTI):
    """Patches whose true labels are the classes 0, 1 and 18; the classes 1 and 2 are predicted."""
    probabilities = np.tile(np.float32([0.4, 0.9, 0.8, 0.3, 0.2, *np.linspace(0.1, 0.01, 14)]), (num_patches, 1))
    labels = np.zeros_like(probabilities)
    labels[:, [0, 1, 18]] = 1
    ids = [f"S2A_MSIL2A_20170613T101031_{number}_45" for number in range(num_patches)]
    rng = np.random.default_rng(0)
    bands = {name: rng.integers(0, 2000, (120, 120)).astype(np.uint16) for name in ("B02", "B03", "B04")}
    table = Predictions(np.array(ids), labels, probabilities)
    first = [Patch(patch_id, bands, ()) for patch_id in ids]
    return PatchPredictions(NamedPredictions(table, CLASSES_19, label_kind), first)


def test_bars_are_the_most_probable_classes_and_every_true_label():
    (bars,) = list_bars(make_found(1))
    shown = {bar.name: (bar.rank, bar.style.meaning) for bar in bars}
    assert shown == {
        CLASSES_19[1]: (1, "predicted, and a true label"),
        CLASSES_19[2]: (2, "predicted, but not a true label"),
        CLASSES_19[0]: (3, "a true label that is not predicted"),
        CLASSES_19[3]: (4, "rightly not predicted"),
        CLASSES_19[4]: (5, "rightly not predicted"),
        CLASSES_19[18]: (19, "a true label that is not predicted"),
    }
    assert [bar.probability for bar in bars] == sorted((bar.probability for bar in bars), reverse=True)


@pytest.mark.parametrize(("count", "label_kind"), [(1, LabelKind.MULTI), (5, LabelKind.SINGLE)])
def test_the_sheet_is_written_in_colors_for_every_color_vision(tmp_path, count, label_kind):
    paths = plot_predictions(Path(tmp_path / "predictions"), make_found(count, label_kind), "model m from folder")
    assert [path.name for path in paths] == ["predictions.png", "predictions.pdf"]
    image = np.asarray(Image.open(paths[0]).convert("RGB"))
    # Right decisions are blue, wrong ones vermilion, whether a class is predicted or not.
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (image == color).all(axis=-1).sum() > 200
    assert image.shape[1] > 600 * min(count, 3)
