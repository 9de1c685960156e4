"""The contact sheet of predictions: which classes it shows, and how."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.serving.patch_inputs import InputPatch
from experiments.shared.first_patches import FirstPatch, FirstPatches
from experiments.shared.plot_predictions import list_bars, plot_predictions

EQUAL = dict.fromkeys(CLASSES_19, 0.5)


def make_first(num_patches, thresholds=EQUAL, labels_known=True):
    """Patches whose true labels are the classes 0, 1 and 18; the classes 1 and 2 are predicted."""
    probabilities = [0.4, 0.9, 0.8, 0.3, 0.2, *np.linspace(0.1, 0.01, 14)]
    row = {f"probability/{name}": value for name, value in zip(CLASSES_19, probabilities)}
    row.update({f"decision/{name}": value >= 0.5 for name, value in zip(CLASSES_19, probabilities)})
    truth = (0, 1, 18) if labels_known else None
    row.update({f"label/{name}": index in truth if truth else None for index, name in enumerate(CLASSES_19)})
    rng = np.random.default_rng(0)
    bands = {name: rng.integers(0, 2000, (120, 120)).astype(np.uint16) for name in ("B02", "B03", "B04")}
    patches = [InputPatch(f"S2A_MSIL2A_20170613T101031_{number}_45", bands) for number in range(num_patches)]
    return FirstPatches([FirstPatch(patch, row) for patch in patches], CLASSES_19, num_patches, thresholds)


def test_bars_are_the_most_probable_classes_and_every_true_label():
    (bars,) = list_bars(make_first(1))
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


def test_bars_of_patches_without_labels_do_not_say_what_is_right():
    (bars,) = list_bars(make_first(1, labels_known=False))
    assert [bar.style.meaning.split(";")[0] for bar in bars] == ["predicted"] * 2 + ["not predicted"] * 3
    assert len({bar.style.color for bar in bars}) == 1


@pytest.mark.parametrize(("count", "thresholds"), [(1, {**EQUAL, CLASSES_19[0]: 0.45}), (5, None)])
def test_the_sheet_is_written_in_colors_for_every_color_vision(tmp_path, count, thresholds):
    paths = plot_predictions(Path(tmp_path / "predictions"), make_first(count, thresholds), "model m from folder")
    assert [path.name for path in paths] == ["predictions.png", "predictions.pdf"]
    image = np.asarray(Image.open(paths[0]).convert("RGB"))
    # Right decisions are blue, wrong ones vermilion, whether a class is predicted or not.
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (image == color).all(axis=-1).sum() > 200
    assert image.shape[1] > 600 * min(count, 3)
