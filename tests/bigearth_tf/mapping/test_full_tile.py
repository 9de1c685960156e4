"""A full tile of Sentinel-2: fields at known coordinates, in bounded memory."""

import json
import subprocess
import sys

import numpy as np
import pytest
from osgeo import gdal

from tests.support.paths import REPOSITORY
from tests.support.scenes import CORNER, wkt

SIDE = 10_980
# Rows and columns of 10 m pixels, at multiples of the stride.
FIELDS = ((0, 600, 0, 900), (5040, 5520, 10_200, SIDE), (10_440, SIDE, 4920, 5400), (6000, 6240, 6000, 6240))


def write_tile(folder):
    """Writes B02, B05 and B01 of a full tile: fields are bright at 20 m, the rest is bright at 10 m."""
    folder.mkdir()
    for name, pixel_m in (("B02", 10), ("B05", 20), ("B01", 60)):
        factor = pixel_m // 10
        dataset = gdal.GetDriverByName("GTiff").Create(
            str(folder / f"{name}.tif"), SIDE // factor, SIDE // factor, 1, gdal.GDT_UInt16,
            ["TILED=YES", "COMPRESS=DEFLATE", "ZLEVEL=1"],
        )  # fmt: skip
        dataset.SetProjection(wkt())
        dataset.SetGeoTransform((CORNER[0], pixel_m, 0, CORNER[1], 0, -pixel_m))
        pixels = np.full((SIDE // factor,) * 2, {"B02": 9001, "B05": 1, "B01": 1}[name], np.uint16)
        for place in FIELDS:
            top, bottom, left, right = (edge // factor for edge in place)
            pixels[top:bottom, left:right] = {"B02": 1, "B05": 9001, "B01": 1}[name]
        dataset.GetRasterBand(1).WriteArray(pixels)
        dataset.FlushCache()
        del dataset
    return folder


@pytest.mark.full
def test_a_full_tile_is_mapped_in_bounded_memory_with_its_fields_in_place(model, tmp_path):
    scene = write_tile(tmp_path / "scene")
    script = (
        "import json, resource\n"
        "from bigearth_tf.mapping import MapOptions, map_scene\n"
        "from bigearth_tf.serving.predictor import Predictor\n"
        f"Predictor({str(model)!r})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"map_scene({str(model)!r}, {str(scene)!r}, {str(tmp_path / 'map.tif')!r}, MapOptions(dn_offset=0))\n"
        "print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    before_kb, peak_kb = json.loads(ran.stdout)
    assert peak_kb - before_kb < 2_000_000
    dataset = gdal.Open(str(tmp_path / "map_top.tif"))
    top = dataset.ReadAsArray()
    expected = np.zeros((SIDE, SIDE), np.uint8)
    for place in FIELDS:
        expected[place[0] : place[1], place[2] : place[3]] = 1
    # Blending rounds the corners of the fields; all else is exact, at the edges of the tile too.
    for place in FIELDS:
        middle_row, middle_column = (place[0] + place[1]) // 2, (place[2] + place[3]) // 2
        assert (top[middle_row] == expected[middle_row]).all()
        assert (top[:, middle_column] == expected[:, middle_column]).all()
    corners = np.zeros((SIDE, SIDE), bool)
    for top_edge, bottom, left, right in FIELDS:
        for y in (top_edge, bottom):
            for x in (left, right):
                corners[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60] = True
    assert (top == expected)[~corners].all()
    assert dataset.GetGeoTransform() == (CORNER[0], 10, 0, CORNER[1], 0, -10)
