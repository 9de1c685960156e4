"""Scores of maps equal those of scikit-learn; maps that cannot be compared are refused."""

import numpy as np
import pytest
from osgeo import gdal, osr
from sklearn.metrics import accuracy_score, f1_score

from bigearth_tf.mapping.score_map import score_map

gdal.UseExceptions()
NAMES = ["water", "forest", "urban"]


def write(path, classes, names=NAMES, left=500000.0, no_data=255):
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32633)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), classes.shape[1], classes.shape[0], 1, gdal.GDT_Byte)
    dataset.SetProjection(reference.ExportToWkt())
    dataset.SetGeoTransform((left, 10.0, 0.0, 5300000.0, 0.0, -10.0))
    band = dataset.GetRasterBand(1)
    band.WriteArray(classes.astype(np.uint8))
    if no_data is not None:
        band.SetNoDataValue(no_data)
    if names:
        band.SetCategoryNames(list(names))
    return path


def test_scores_are_those_of_scikit_learn_and_classes_match_by_name(tmp_path):
    rng = np.random.default_rng(0)
    true, found = rng.integers(0, 3, (2, 1100, 30))  # More rows than are read at a time.
    found[:5], true[-3:] = 255, 255
    order = [2, 0, 1]  # The map has its classes in another order.
    swapped = np.where(found == 255, 255, np.argsort(order)[np.minimum(found, 2)])
    scores = score_map(
        write(tmp_path / "map.tif", swapped, [NAMES[index] for index in order]), write(tmp_path / "truth.tif", true)
    )
    both = (true != 255) & (found != 255)
    assert scores.num_pixels == both.sum()
    assert scores.accuracy == pytest.approx(accuracy_score(true[both], found[both]))
    assert scores.constant_accuracy == pytest.approx(np.bincount(true[both]).max() / both.sum())
    assert list(scores.f1) == NAMES
    np.testing.assert_allclose(list(scores.f1.values()), f1_score(true[both], found[both], average=None))


def test_a_class_that_only_the_map_has_is_wrong_and_has_no_score(tmp_path):
    true, found = np.zeros((4, 4)), np.zeros((4, 4))
    found[0] = 1
    names = ["water", "glacier"]
    scores = score_map(write(tmp_path / "map.tif", found, names), write(tmp_path / "truth.tif", true))
    assert (scores.accuracy, scores.constant_accuracy, list(scores.f1)) == (0.75, 1.0, ["water"])


def test_maps_that_cannot_be_compared_are_refused(tmp_path):
    classes = np.zeros((6, 5))
    truth = write(tmp_path / "truth.tif", classes)
    with pytest.raises(ValueError, match=r"6 x 5 pixels from 500010, .*gdalwarp -r near"):
        score_map(write(tmp_path / "moved.tif", classes, left=500010.0), truth)
    with pytest.raises(ValueError, match="7 x 5 pixels"):
        score_map(write(tmp_path / "longer.tif", np.zeros((7, 5))), truth)
    with pytest.raises(ValueError, match=r"unnamed.tif: has no names of its classes"):
        score_map(write(tmp_path / "unnamed.tif", classes, names=None), truth)
    with pytest.raises(ValueError, match="no pixel has a class in both"):
        score_map(write(tmp_path / "empty.tif", np.full((6, 5), 255)), truth)
    with pytest.raises(FileNotFoundError, match=r"nowhere.tif: no such file"):
        score_map(tmp_path / "nowhere.tif", truth)
