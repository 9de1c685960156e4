"""Maps: every pixel against a direct sum, fields at their coordinates, the files as GDAL reads them, and resuming."""

import json
import shutil
import subprocess
import time

import numpy as np
import pytest
from osgeo import gdal, osr
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate

from bigearth_tf.data.bands import BANDS
from bigearth_tf.mapping import MapOptions, map_scene
from bigearth_tf.mapping.part_files import PartAnswers, read_part, write_part
from bigearth_tf.mapping.windows import WindowGrid, window_profile
from tests.bigearth_tf.mapping.conftest import CLASSES
from tests.support import warm_python
from tests.support.paths import REPOSITORY
from tests.support.scenes import CORNER, EPSG, Grid, write_band_files, write_raster, write_safe, write_zip

PATCH_PX = 120
NO_DATA = 255


def random_bands(names, height, width, seed=0):
    """Returns bands of a scene of [height, width] pixels of 10 m; coarser bands cover it, rounded up."""
    rng = np.random.default_rng(seed)
    factors = {name: BANDS[name].resolution_m // 10 for name in names}
    return {
        name: rng.integers(1, 9999, (-(-height // factor), -(-width // factor))).astype(np.uint16)
        for name, factor in factors.items()
    }


def expected_map(bands, height, width, stride, align):
    """Returns the blended reflectances [height, width, K], by the direct sum over all windows."""
    profile = window_profile(PATCH_PX)
    weight = np.outer(profile, profile)
    size = (height + 2 * PATCH_PX, width + 2 * PATCH_PX)
    total, weights = np.zeros((*size, len(bands))), np.zeros((*size, 1))
    padded = {}
    for name, pixels in bands.items():
        factor = BANDS[name].resolution_m // 10
        margin = PATCH_PX // factor
        padded[name] = np.pad(pixels, margin, mode="symmetric").astype(float) / 10_000, factor
    starts = [
        sorted({k * stride // align * align for k in range(-PATCH_PX, length + 1)} & set(range(1 - PATCH_PX, length)))
        for length in (height, width)
    ]
    for top in starts[0]:
        for left in starts[1]:
            answer = []
            for pixels, factor in padded.values():
                y, x, side = (top + PATCH_PX) // factor, (left + PATCH_PX) // factor, PATCH_PX // factor
                answer.append(pixels[y : y + side, x : x + side].mean())
            place = np.s_[top + PATCH_PX : top + 2 * PATCH_PX, left + PATCH_PX : left + 2 * PATCH_PX]
            total[place] += weight[..., np.newaxis] * answer
            weights[place] += weight[..., np.newaxis]
    inside = np.s_[PATCH_PX : PATCH_PX + height, PATCH_PX : PATCH_PX + width]
    return total[inside] / weights[inside]


def read(path):
    return gdal.Open(str(path)).ReadAsArray()


def assert_is_rounded(percent, expected):
    """The map is the expected value rounded; where that is within 1e-3 of a half, either neighbor."""
    exact = 100 * np.moveaxis(expected, -1, 0)
    assert (abs(percent - exact) <= 0.501).all()


@pytest.mark.parametrize(
    ("height", "width", "stride"), [(360, 240, None), (401, 333, 60), (301, 257, 37), (130, 121, 119), (59, 40, 60)]
)
def test_every_pixel_is_the_weighted_mean_of_its_windows(model, tmp_path, height, width, stride):
    bands = random_bands(("B02", "B05", "B01"), height, width)
    write_band_files(tmp_path / "scene", bands)
    made = map_scene(model, tmp_path / "scene", tmp_path / "map.tif", MapOptions(stride_px=stride, dn_offset=0))
    expected = expected_map(bands, height, width, stride or 60, 6)
    assert_is_rounded(read(made.probabilities), expected)
    first, second = np.sort(expected, axis=-1)[..., -1], np.sort(expected, axis=-1)[..., -2]
    clear = first - second > 1e-5
    assert (read(made.top)[clear] == expected.argmax(axis=-1)[clear]).all()


@pytest.mark.parametrize("stride", [37, 61])
def test_windows_of_10_m_bands_start_at_any_pixel(model_10m, tmp_path, stride):
    bands = random_bands(("B04", "B03", "B02"), 263, 211)
    write_band_files(tmp_path / "scene", bands)
    made = map_scene(model_10m, tmp_path / "scene", tmp_path / "map.tif", MapOptions(stride_px=stride, dn_offset=0))
    assert_is_rounded(read(made.probabilities), expected_map(bands, 263, 211, stride, 1))


def test_a_field_lies_at_its_coordinates_to_the_pixel(model, tmp_path):
    """By symmetry, the border of the map is that of the field where the windows lie symmetrically around it."""
    top, bottom, left, right = 120, 420, 180, 360
    is_field = np.zeros((600, 540), bool)
    is_field[top:bottom, left:right] = True
    bands = {
        "B02": np.where(is_field, 1, 9001).astype(np.uint16),
        "B05": np.where(is_field[::2, ::2], 9001, 1).astype(np.uint16),
        "B01": np.ones((100, 90), np.uint16),
    }
    write_band_files(tmp_path / "scene", bands)
    made = map_scene(model, tmp_path / "scene", tmp_path / "map.tif", MapOptions(dn_offset=0))
    found = read(made.top)
    # Away from the corners, which blending rounds.
    assert (found[top + 120 : bottom - 120] == is_field[top + 120 : bottom - 120]).all()
    assert (found[:, left + 60 : right - 60] == is_field[:, left + 60 : right - 60]).all()
    dataset = gdal.Open(str(made.top))
    to_pixel = gdal.InvGeoTransform(dataset.GetGeoTransform())
    inside = [(top, 270), (bottom - 1, 270), (270, left), (270, right - 1)]
    outside = [(top - 1, 270), (bottom, 270), (270, left - 1), (270, right)]
    for row, column, class_index in [(*place, 1) for place in inside] + [(*place, 0) for place in outside]:
        east, north = CORNER[0] + 10 * column + 5, CORNER[1] - 10 * row - 5
        x, y = gdal.ApplyGeoTransform(to_pixel, east, north)
        assert dataset.ReadAsArray(int(x), int(y), 1, 1) == class_index


def test_the_files_are_cogs_in_place_with_names_and_colors(model, tmp_path):
    write_band_files(tmp_path / "scene", random_bands(("B02", "B05", "B01"), 1301, 700))
    made = map_scene(model, tmp_path / "scene", tmp_path / "map.tif", MapOptions(dn_offset=0, stride_px=120))
    utm = osr.SpatialReference()
    utm.ImportFromEPSG(EPSG)
    for path in (made.probabilities, made.top):
        warnings, errors, _ = validate(str(path), full_check=True)
        assert (warnings, errors) == ([], [])
        dataset = gdal.Open(str(path))
        assert dataset.GetGeoTransform() == (CORNER[0], 10, 0, CORNER[1], 0, -10)
        assert dataset.GetSpatialRef().IsSame(utm)
        assert (dataset.RasterYSize, dataset.RasterXSize) == (1301, 700)
        assert dataset.GetRasterBand(1).GetOverviewCount() >= 1
    dataset = gdal.Open(str(made.probabilities))
    for index, name in enumerate(CLASSES):
        band = dataset.GetRasterBand(index + 1)
        assert (band.GetDescription(), band.GetNoDataValue(), band.GetUnitType()) == (name, NO_DATA, "probability")
        assert (band.GetScale(), band.GetOffset()) == (0.01, 0.0)
    dataset = gdal.Open(str(made.top))
    dataset.GetGeoTransform()  # GDAL 3.6 reads the names of categories only after something else.
    band = dataset.GetRasterBand(1)
    assert band.GetCategoryNames() == list(CLASSES)
    assert band.GetColorInterpretation() == gdal.GCI_PaletteIndex
    colors = [band.GetColorTable().GetColorEntry(index)[:3] for index in range(3)]
    assert colors[:2] == [(230, 230, 77), (0, 204, 242)], "those of CORINE"
    assert colors[2] not in colors[:2]
    assert band.GetNoDataValue() == NO_DATA
    record = json.loads(made.record.read_text())
    assert sum(record["shares"].values()) == pytest.approx(1.0)
    assert record["num_pixels_with_data"] == 1301 * 700
    assert len(record["map_of"]["model"]["sha256"]) == 64
    assert made.picture.read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "map.parts").exists()


def test_no_data_of_any_band_and_clouds_are_no_data_to_the_pixel_and_do_not_change_their_neighbors(model, tmp_path):
    height, width = 301, 240
    bands = {
        "B02": np.full((301, 240), 3000, np.uint16),
        "B05": np.full((151, 120), 2000, np.uint16),
        "B01": np.full((51, 40), 1000, np.uint16),
        "SCL": np.full((151, 120), 4, np.uint8),
    }
    bands["B02"][:, 200:] = 0  # The edge of the swath.
    bands["B05"][10, 20] = 0
    bands["B01"][50, 3] = 0
    bands["SCL"][100, 50] = 9
    bands["SCL"][100, 52] = 11  # Snow is no cloud.
    is_valid = np.ones((height, width), bool)
    is_valid[:, 200:] = False
    is_valid[20:22, 40:42] = False
    is_valid[300:, 18:24] = False
    is_valid[200:202, 100:102] = False
    write_band_files(tmp_path / "scene", bands)
    made = map_scene(model, tmp_path / "scene", tmp_path / "map.tif", MapOptions(dn_offset=0, mask_scl=True))
    percent = read(made.probabilities)
    assert ((percent == NO_DATA) == ~is_valid).all()
    assert (percent[:, is_valid] == np.array([[30], [20], [10]])).all()
    assert (read(made.top) == np.where(is_valid, 0, NO_DATA)).all()
    assert made.shares[CLASSES[0]] == 1.0


def test_a_product_and_its_zip_give_the_same_map_with_the_offset_of_the_metadata(model, tmp_path):
    bands = random_bands(("B02", "B05", "B01"), 250, 200)
    bands["B02"][3, 5] = 700  # Below the offset: clipped at 0, which is data.
    root = write_safe(tmp_path, bands)
    zipped = write_zip(tmp_path / "product.zip", root)
    stated = map_scene(model, root, tmp_path / "safe.tif")
    assert (
        stated.probabilities.read_bytes() == map_scene(model, zipped, tmp_path / "zip.tif").probabilities.read_bytes()
    )
    assert_is_rounded(read(stated.probabilities), expected_map(
        {name: np.clip(pixels.astype(int) - 1000, 0, None) for name, pixels in bands.items()}, 250, 200, 60, 6
    ))  # fmt: skip
    record = json.loads(stated.record.read_text())["map_of"]["scene"]
    assert (record["name"], record["level"], record["processing_baseline"]) == (root.name, "L2A", "05.11")
    assert {band["dn_offset"] for band in record["bands"].values()} == {-1000}


def test_clouds_of_a_product_are_masked_after_its_scene_classification(model, tmp_path):
    bands = {name: np.full((side, side), 3000, np.uint16) for name, side in (("B02", 120), ("B05", 60), ("B01", 20))}
    bands["SCL"] = np.full((60, 60), 4, np.uint8)
    bands["SCL"][7, 9:12] = (9, 3, 11)
    root = write_safe(tmp_path, bands)
    masked = np.zeros((120, 120), bool)
    masked[14:16, 18:22] = True
    made = map_scene(model, root, tmp_path / "clouds.tif", MapOptions(mask_scl=True))
    assert ((read(made.top) == NO_DATA) == masked).all()
    masked[14:16, 22:24], masked[14:16, 18:22] = True, False
    made = map_scene(model, root, tmp_path / "snow.tif", MapOptions(mask_scl=True, scl_classes=(11,)))
    assert ((read(made.top) == NO_DATA) == masked).all()
    assert (read(made.probabilities)[:, ~masked] == 20).all()


def test_a_file_of_several_bands_at_10_m_gives_the_map_of_native_bands(model, tmp_path):
    bands = random_bands(("B02", "B05", "B01"), 240, 180)
    write_band_files(tmp_path / "scene", bands)
    stack = [np.kron(pixels, np.ones((240 // len(pixels),) * 2, np.uint16)) for pixels in bands.values()]
    named = ["B2, central wavelength 490 nm", "B5", "B1"]
    write_raster(tmp_path / "named.tif", stack, Grid(), names=named)
    write_raster(tmp_path / "unnamed.tif", [*stack[::-1], stack[0]], Grid())
    gdal.BuildVRT(str(tmp_path / "scene.vrt"), str(tmp_path / "unnamed.tif"))
    expected = map_scene(model, tmp_path / "scene", tmp_path / "expected.tif", MapOptions(dn_offset=0))
    for scene, options in (
        ("named.tif", MapOptions(dn_offset=0)),
        ("unnamed.tif", MapOptions(dn_offset=0, band_order=("B01", "B05", "B02", "-"))),
        ("scene.vrt", MapOptions(dn_offset=0, band_order=("B01", "B05", "B02", "-"))),
    ):
        made = map_scene(model, tmp_path / scene, tmp_path / f"of-{scene}.tif", options)
        assert made.probabilities.read_bytes() == expected.probabilities.read_bytes(), scene


def test_a_real_scene_is_mapped_at_its_place(model, shared_data, tmp_path):
    """Two cells of a Sentinel-2 tile in UTM zone 48 north, 12 bands at native size."""
    folder = shared_data / "scene_t48que"
    bands = {name: read(folder / f"{name}.tif") for name in ("B02", "B05", "B01")}
    assert bands["B02"].shape == (1068, 1068)
    made = map_scene(model, folder, tmp_path / "map.tif", MapOptions(dn_offset=0))
    source, target = gdal.Open(str(folder / "B02.tif")), gdal.Open(str(made.probabilities))
    assert target.GetGeoTransform() == source.GetGeoTransform()
    assert target.GetSpatialRef().IsSame(source.GetSpatialRef())
    assert target.GetSpatialRef().GetAuthorityCode(None) == "32648"
    assert_is_rounded(read(made.probabilities), expected_map(bands, 1068, 1068, 60, 6))


def test_tasks_in_any_order_and_a_resumed_map_give_the_same_bytes(model_10m, tmp_path):
    write_band_files(tmp_path / "scene", random_bands(("B04", "B03", "B02"), 2300, 130))
    arguments = (model_10m, tmp_path / "scene")
    options = {"dn_offset": 0, "stride_px": 60}
    single = map_scene(*arguments, tmp_path / "single.tif", MapOptions(**options))
    assert len(WindowGrid(2300, 130, 120, 60).parts()) == 3
    for index in (2, 0, 1):
        made = map_scene(*arguments, tmp_path / "tasks.tif", MapOptions(**options, task_index=index, num_tasks=3))
        assert (made is None) == (index != 1), "the last task writes the map"
    assert made.probabilities.read_bytes() == single.probabilities.read_bytes()
    assert made.top.read_bytes() == single.top.read_bytes()
    assert made.picture.read_bytes() == single.picture.read_bytes()
    # Interrupted with parts 0 and 2 written: a process alone computes the other one, and no part twice.
    for index in (0, 2):
        map_scene(*arguments, tmp_path / "resumed.tif", MapOptions(**options, task_index=index, num_tasks=3))
    shutil.copytree(tmp_path / "resumed.parts", tmp_path / "changed.parts")
    resumed = map_scene(*arguments, tmp_path / "resumed.tif", MapOptions(**options))
    assert resumed.probabilities.read_bytes() == single.probabilities.read_bytes()
    part = WindowGrid(2300, 130, 120, 60).parts()[2]
    written = read_part(tmp_path / "changed.parts", part)
    write_part(tmp_path / "changed.parts", part, PartAnswers(np.zeros_like(written.probabilities), written.is_valid))
    changed = map_scene(*arguments, tmp_path / "changed.tif", MapOptions(**options))
    assert not read(changed.probabilities)[:, -100:].any()
    assert map_scene(*arguments, tmp_path / "single.tif", MapOptions(**options)) == single, "nothing is left to do"


def start(model, scene, output, *flags):
    """Starts the command as a process of its own."""
    return warm_python.start(
        ["-m", "experiments.map_scene", f"--model_dir={model}", f"--scene={scene}", f"--output={output}",
         "--dn_offset=0", *flags],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process):
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def test_processes_at_the_same_time_and_one_that_is_killed_give_the_same_bytes(model_10m, tmp_path):
    scene = write_band_files(tmp_path / "scene", random_bands(("B04", "B03", "B02"), 6000, 124))
    single = map_scene(model_10m, scene, tmp_path / "single.tif", MapOptions(dn_offset=0))
    killed = start(model_10m, scene, tmp_path / "killed.tif")
    while not list(tmp_path.glob("killed.parts/part-*.npz")):
        assert killed.poll() is None, finish(killed)
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    tasks = [start(model_10m, scene, tmp_path / "tasks.tif", f"--task_index={i}", "--num_tasks=2") for i in (0, 1)]
    resumed = start(model_10m, scene, tmp_path / "killed.tif")
    second = start(model_10m, scene, tmp_path / "killed.tif")
    results = [finish(process) for process in (*tasks, resumed, second)]
    assert [code for code, _ in results[:2]] == [0, 0], results
    assert 0 in [code for code, _ in results[2:]], results
    for code, printed in results[2:]:
        assert code == 0 or f"{tmp_path / 'killed.tif'}: in use by process" in printed
    for name in ("tasks", "killed"):
        assert (tmp_path / f"{name}.tif").read_bytes() == single.probabilities.read_bytes()
        assert (tmp_path / f"{name}_top.tif").read_bytes() == single.top.read_bytes()
        assert not (tmp_path / f"{name}.parts").exists()


def test_another_map_or_a_file_is_not_overwritten(model, tmp_path):
    scene = write_band_files(tmp_path / "scene", random_bands(("B02", "B05", "B01"), 130, 130))
    map_scene(model, scene, tmp_path / "map.tif", MapOptions(dn_offset=0))
    before = (tmp_path / "map.tif").read_bytes()
    with pytest.raises(ValueError, match=r"map.json: belongs to another map .*stride_px: 60 there, 30 here"):
        map_scene(model, scene, tmp_path / "map.tif", MapOptions(dn_offset=0, stride_px=30))
    (tmp_path / "file.tif").write_text("mine")
    with pytest.raises(ValueError, match=r"file.tif: exists and has no file.json"):
        map_scene(model, scene, tmp_path / "file.tif", MapOptions(dn_offset=0))
    with pytest.raises(ValueError, match=r"--output=map.png: expected the name of a GeoTIFF"):
        map_scene(model, scene, "map.png", MapOptions(dn_offset=0))
    (tmp_path / "picture.png").write_text("mine")
    with pytest.raises(ValueError, match=r"picture.png: exists and has no picture.json"):
        map_scene(model, scene, tmp_path / "picture.tif", MapOptions(dn_offset=0))
    assert (tmp_path / "map.tif").read_bytes() == before
    assert (tmp_path / "file.tif").read_text() == "mine"
    assert sorted(path.suffix for path in tmp_path.glob("*.parts")) == []


def test_a_scene_without_data_is_no_map(model, tmp_path):
    bands = {name: 0 * pixels for name, pixels in random_bands(("B02", "B05", "B01"), 130, 130).items()}
    scene = write_band_files(tmp_path / "scene", bands)
    with pytest.raises(ValueError, match="scene: no pixel has data"):
        map_scene(model, scene, tmp_path / "map.tif", MapOptions(dn_offset=0))
    assert not list(tmp_path.glob("map*.tif"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dn_offset": 1000}, "--dn_offset=1000: .*expected 0 or -1000"), ({"batch_size": 0}, "--batch_size=0"),
     ({"num_tasks": 0}, "--num_tasks=0"), ({"task_index": 2, "num_tasks": 2}, "--task_index=2")],
)  # fmt: skip
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MapOptions(**options)
