"""A synthetic scene has one class a field, at its place, in every band; the same settings give the same scene."""

import numpy as np
import pytest
from osgeo import gdal

from bigearth_tf.data.bands import BANDS, S2_ALL
from bigearth_tf.data.labels import CLASSES_19
from tfrecord_tools.synthetic.synthetic_scene import write_scene

gdal.UseExceptions()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene") / "scene", 2, seed=5)


def read(path):
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray(), dataset.GetGeoTransform()


def test_bands_and_truth_cover_the_same_ground(scene):
    truth, place = read(scene / "truth.tif")
    assert truth.shape == (720, 720)
    for name in S2_ALL:
        pixels, own = read(scene / "bands" / f"{name}.tif")
        assert pixels.shape == (6 * BANDS[name].size_px,) * 2 and pixels.dtype == np.uint16
        assert own[1] == BANDS[name].resolution_m and (own[0], own[3]) == (place[0], place[3])
        assert pixels.min() > 0
    dataset = gdal.Open(str(scene / "truth.tif"))
    dataset.GetGeoTransform()  # Makes GDAL read truth.tif.aux.xml.
    assert dataset.GetRasterBand(1).GetCategoryNames() == list(CLASSES_19)


def test_it_is_written_once_and_the_same_again(scene, tmp_path):
    before = (scene / "truth.tif").stat().st_mtime_ns
    assert write_scene(scene, 2, seed=5) == scene
    assert (scene / "truth.tif").stat().st_mtime_ns == before
    again = write_scene(tmp_path / "again", 2, seed=5)
    for path in scene.rglob("*.tif"):
        assert path.read_bytes() == (again / path.relative_to(scene)).read_bytes()
    with pytest.raises(ValueError, match="exists and is not the scene of --fields=3 --seed=5"):
        write_scene(scene, 3, seed=5)
    with pytest.raises(ValueError, match="--fields=0 --seed=0: expected at least one field"):
        write_scene(tmp_path / "none", 0, seed=0)


def test_each_field_has_one_class_and_looks_like_it(tmp_path):
    folder = write_scene(tmp_path / "scene", 5, seed=1)
    truth, _ = read(folder / "truth.tif")
    fields = truth.reshape(5, 360, 5, 360).swapaxes(1, 2).reshape(25, -1)
    assert (fields == fields[:, :1]).all()
    classes = fields[:, 0]
    assert set(classes[:19]) == set(range(19)), "every class comes before one comes again"
    # Water reflects green light and no short-wave infrared (https://doi.org/10.1080/01431160600589179).
    green, infrared = (
        read(folder / "bands" / f"{name}.tif")[0].reshape(5, -1, 5, side).mean(axis=(1, 3)).ravel()
        for name, side in (("B03", 360), ("B11", 180))
    )
    wetness = (green - infrared) / (green + infrared)
    is_water = np.isin(classes, [CLASSES_19.index(name) for name in ("Inland waters", "Marine waters")])
    is_land = ~np.isin(
        classes, [CLASSES_19.index(name) for name in CLASSES_19 if "water" in name or "wetlands" in name]
    )
    assert wetness[is_water].min() > wetness[is_land].max()
