"""Scenes: how bands are found and named, offsets, grids, and everything that is refused before TensorFlow is loaded."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from osgeo import gdal

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.mapping.scene import open_scene
from bigearth_tf.mapping.scene_input import match_bands
from tests.support.paths import REPOSITORY
from tests.support.scenes import CORNER, Grid, wkt, write_band_files, write_raster, write_safe, write_zip

NAMES = ("B02", "B05", "B01")
BAND_ROWS = get_bands(NAMES)


def constant_bands(names=NAMES, side_10m=120, values=(100, 200, 300)):
    shapes = [side_10m // (BANDS[name].resolution_m // 10) if name in BANDS else side_10m // 2 for name in names]
    return {name: np.full((side, side), value, np.uint16) for name, side, value in zip(names, shapes, values)}


def match(path, level="L2A", mask_scl=False, **options):
    names = [*NAMES, "SCL"] if mask_scl else NAMES
    return match_bands(open_scene(path, names, **{"dn_offset": 0, **options}), BAND_ROWS, level, mask_scl=mask_scl)


def offsets(scene_input):
    return {item.band.name: item.layer.source.dn_offset for item in scene_input.bands}


@pytest.fixture
def folder(tmp_path):
    return write_band_files(tmp_path / "scene", constant_bands())


def test_a_folder_is_matched_by_name_at_native_size(folder):
    (folder / "B02.tif").rename(folder / "T33TWN_20200101T101031_b2_10m.TIF")
    (folder / "B03_notes.txt").write_text("no raster")
    found = match(folder)
    assert (found.height, found.width, found.patch_px, found.align_px) == (120, 120, 120, 6)
    assert [item.layer.factor for item in found.bands] == [1, 2, 6]
    assert found.resampled() == []
    assert found.geotransform == (CORNER[0], 10, 0, CORNER[1], 0, -10)


def test_odd_sizes_are_accepted_rounded_up_or_down(tmp_path):
    for b05, b01 in (((51, 52), (17, 18)), ((50, 51), (16, 17))):
        bands = {
            "B02": np.ones((101, 103), np.uint16), "B05": np.ones(b05, np.uint16), "B01": np.ones(b01, np.uint16)
        }  # fmt: skip
        found = match(write_band_files(tmp_path / str(b05), bands))
        assert (found.height, found.width) == (101, 103)


def test_another_zone_another_projection_and_feet_are_accepted(tmp_path):
    for epsg in (32733, 3035, 2154):
        folder = write_band_files(tmp_path / str(epsg), constant_bands(), Grid(crs_wkt=wkt(epsg)))
        assert match(folder).crs_wkt
    for name, pixels in constant_bands().items():
        feet = BANDS[name].resolution_m * 3937 / 1200
        write_raster(tmp_path / "feet" / f"{name}.tif", [pixels], Grid(feet, crs_wkt=wkt(2263)))
    assert match(tmp_path / "feet").bands[0].layer.source.raster.pixel_m == pytest.approx(10)


def test_of_several_pixel_sizes_of_a_product_that_of_the_model_is_read(tmp_path):
    root = write_safe(tmp_path, constant_bands())
    images = next(root.rglob("R10m")).parent
    stem = "T33TWN_20240830T100559"
    finer = images / "R20m" / f"{stem}_B01_20m.jp2"
    coarser = images / "R60m" / f"{stem}_B05_60m.jp2"
    for path, pixel_m, side in ((finer, 20, 60), (coarser, 60, 20)):
        write_raster(path, [np.full((side, side), 9, np.uint16)], Grid(pixel_m), driver="JP2OpenJPEG")
    metadata = root / "MTD_MSIL2A.xml"
    listed = [path.relative_to(root).as_posix()[: -len(".jp2")] for path in (finer, coarser)]
    more = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in listed)
    metadata.write_text(metadata.read_text().replace("</Granule>", f"{more}</Granule>"))
    found = match(root, dn_offset=None)
    assert [item.layer.source.raster.pixel_m for item in found.bands] == [10, 20, 60]
    # B01 exists at 20 m only: its pixels are averaged.
    metadata.write_text("".join(re.split(r"<IMAGE_FILE>[^<]*/R60m/[^<]*</IMAGE_FILE>", metadata.read_text())))
    found = match(root, dn_offset=None)
    assert found.bands[2].layer.source.raster.pixel_m == 20
    assert found.resampled() == ["B01"]


def test_the_offset_is_that_of_the_metadata_and_never_of_a_name(tmp_path):
    for folder, baseline, offset, expected in (
        ("a", "05.11", -1000, -1000), ("b", "02.14", None, 0), ("c", "99.99", -1000, -1000), ("d", "04.00", 0, 0),
    ):  # fmt: skip
        root = write_safe(tmp_path / folder, constant_bands(), baseline=baseline, offset=offset)
        assert set(offsets(match(root, dn_offset=None)).values()) == {expected}
        assert set(offsets(match(root / "MTD_MSIL2A.xml", dn_offset=None)).values()) == {expected}
        assert set(offsets(match(write_zip(tmp_path / f"{folder}.zip", root), dn_offset=None)).values()) == {expected}
    silent = write_safe(tmp_path / "e", constant_bands(), baseline="05.11", offset=None)
    with pytest.raises(ValueError, match="nothing states whether .* B02 have an offset. Say --dn_offset=-1000"):
        match(silent, dn_offset=None)
    assert set(offsets(match(silent, dn_offset=-1000)).values()) == {-1000}
    with pytest.raises(ValueError, match="--dn_offset=0: the metadata of S2B_.* state -1000 for B02"):
        match(tmp_path / "a" / silent.name, dn_offset=0)


def test_the_offset_of_a_file_is_that_of_its_scale_and_offset(tmp_path):
    folder = write_band_files(tmp_path / "scene", constant_bands())
    for name in NAMES:
        dataset = gdal.Open(str(folder / f"{name}.tif"), gdal.GA_Update)
        dataset.GetRasterBand(1).SetScale(0.0001)
        dataset.GetRasterBand(1).SetOffset(-0.1)
        dataset.FlushCache()
        del dataset
    assert set(offsets(match(folder, dn_offset=None)).values()) == {-1000}


def stack(path, names, **options):
    bands = [np.full((120, 120), 100 * (index + 1), np.uint16) for index in range(3)]
    return write_raster(path, bands, Grid(), names=names, **options)


def test_bands_of_a_file_are_named_by_descriptions_or_by_the_order(tmp_path):
    described = stack(tmp_path / "a.tif", ["B1", "B02 (blue)", "B5, central wavelength 704 nm"])
    unnamed = stack(tmp_path / "b.tif", ())
    for path, options in ((described, {}), (unnamed, {"band_order": ("B01", "B02", "B05")})):
        found = match(path, **options)
        assert {item.band.name: item.layer.source.raster.index for item in found.bands} == {
            "B02": 2,
            "B05": 3,
            "B01": 1,
        }
        assert found.resampled() == ["B05", "B01"]


def change(folder, name="B05", **changes):
    """Writes a band again with other pixels, another grid or another file."""
    pixels = changes.pop("pixels", constant_bands()[name])
    grid = Grid(**{"pixel_m": BANDS[name].resolution_m, **changes.pop("grid", {})})
    write_raster(folder / f"{name}.tif", [pixels], grid, **changes)


def truncate(path, share=0.5):
    os.truncate(path, int(path.stat().st_size * share))


def remove_georeference(folder):
    dataset = gdal.GetDriverByName("GTiff").Create(str(folder / "B05.tif"), 60, 60, 1, gdal.GDT_UInt16)
    dataset.GetRasterBand(1).Fill(7)
    dataset.FlushCache()


LANDSAT = {"grid": {"pixel_m": 30}, "pixels": np.ones((40, 40), np.uint16)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "B05.tif").unlink(), "lacks band B05, which the model takes. It has B01, B02"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "0 raster file"),
        (lambda folder: truncate(folder / "B05.tif"), "B05.tif: (is cut|cannot be opened|cannot be read)"),
        (lambda folder: (folder / "B05.tif").write_text("not a raster"), "B05.tif: cannot be opened as a raster"),
        (remove_georeference, "B05.tif: has no georeference"),
        (lambda folder: change(folder, grid={"crs_wkt": wkt(4326), "pixel_m": 0.0002}), "counts in degrees"),
        (lambda folder: change(folder, grid={"crs_wkt": wkt(32632)}), "B05 has another coordinate system than .*B02"),
        (lambda folder: change(folder, grid={"corner": (CORNER[0] + 10, CORNER[1])}), "B05 starts 10 away from"),
        (lambda folder: change(folder, pixels=np.ones((58, 60), np.uint16)), "B05 is 60 x 58 px .* does not cover"),
        (lambda folder: change(folder, grid={"pixel_m": 15}), "B05 has pixels of 15 m, no multiple of the 10 m"),
        (lambda folder: change(folder, "B02", **LANDSAT), "pixels of 30 m, the model takes 10 m. Is it another sensor"),
        (lambda folder: change(folder, pixels=np.full((60, 60), 0.3, np.float32)), "B05 is float32, the model takes"),
        (lambda folder: change(folder, pixels=np.ones((60, 60), np.uint8)), "A picture of 8 bits"),
        (lambda folder: change(folder, "B02", pixels=np.ones((120, 120), np.uint16), grid={"pixel_m": 10},
                               names=["x"]) or shutil.copy(folder / "B02.tif", folder / "again_B02.tif"),
         "several files of one band.*again_B02"),
        (lambda folder: shutil.copy(folder / "B01.tif", folder / "B10.tif"), r"are L1C .* trained on L2A"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message) as raised:
        match(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [(), ("COMPRESS=DEFLATE", "TILED=YES"), ("BIGTIFF=YES",)])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_file_that_is_cut_anywhere_is_refused(folder, options, share):
    pixels = np.random.default_rng(0).integers(1, 9999, (120, 120)).astype(np.uint16)
    write_raster(folder / "B02.tif", [pixels], Grid(), options=options)
    match(folder)
    truncate(folder / "B02.tif", share)
    with pytest.raises(ValueError, match=r"B02.tif: (is cut|cannot be opened)"):
        match(folder)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_product_that_is_cut_or_incomplete_is_refused(tmp_path, share):
    rng = np.random.default_rng(0)
    bands = {name: rng.integers(1, 9999, pixels.shape).astype(np.uint16) for name, pixels in constant_bands().items()}
    root = write_safe(tmp_path, bands)
    zipped = write_zip(tmp_path / "a.zip", root)
    truncate(zipped, share)
    with pytest.raises(ValueError, match="a.zip: is not a whole zip"):
        match(zipped, dn_offset=None)
    image = next(root.rglob("*_B02_10m.jp2"))
    truncate(image, share)
    with pytest.raises(ValueError, match=r"_B02_10m.jp2: (is cut|cannot be opened)"):
        match(root, dn_offset=None)
    image.unlink()
    with pytest.raises(ValueError, match=r"_B02_10m.jp2: is missing, the metadata of the product list it"):
        match(root, dn_offset=None)
    truncate(root / "MTD_MSIL2A.xml", share)
    with pytest.raises(ValueError, match="MTD_MSIL2A.xml: is not valid XML"):
        match(root, dn_offset=None)


def test_level_1c_is_refused_by_a_model_of_level_2a_and_taken_by_one_of_level_1c(tmp_path):
    root = write_safe(tmp_path, constant_bands(), level="L1C")
    with pytest.raises(ValueError, match=r"are L1C .*S2B_MSIL1C_.* trained on L2A .*Sen2Cor"):
        match(root, dn_offset=None)
    assert set(offsets(match(root, level="L1C", dn_offset=None)).values()) == {-1000}
    with pytest.raises(ValueError, match=r"are L2A .*, the model was trained on L1C"):
        match(write_safe(tmp_path, constant_bands()), level="L1C", dn_offset=None)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("SR_X", "", ""), {}, "descriptions of its 3 bands .* name no band of Sentinel-2.*--band_order="),
        (("B02", "B2", "B05"), {}, "several of its bands are named B02"),
        (("B02", "B05", "B01"), {"band_order": ("B02",)}, "has 3 bands, --band_order names 1"),
    ],
)
def test_a_file_whose_bands_are_not_named_is_refused(tmp_path, names, options, message):
    with pytest.raises(ValueError, match=message):
        match(stack(tmp_path / "a.tif", names), **options)


def test_a_vrt_whose_source_is_gone_is_refused(tmp_path):
    path = stack(tmp_path / "a.tif", ["B01", "B02", "B05"])
    gdal.BuildVRT(str(tmp_path / "a.vrt"), str(path))
    path.unlink()
    with pytest.raises((ValueError, OSError), match="a.vrt: cannot be (opened|read)"):
        match(tmp_path / "a.vrt", band_order=("B01", "B02", "B05"))


def test_masking_without_a_classification_is_refused(folder):
    with pytest.raises(ValueError, match="no scene classification"):
        match(folder, mask_scl=True)


def test_refusals_come_before_tensorflow_is_loaded(tmp_path, model, folder):
    (folder / "B05.tif").unlink()
    script = (
        "import sys\n"
        "from bigearth_tf.mapping import MapOptions, map_scene\n"
        "try:\n"
        f"    map_scene({str(model)!r}, {str(folder)!r}, {str(tmp_path / 'map.tif')!r}, MapOptions(dn_offset=0))\n"
        "except ValueError as error:\n"
        "    assert 'lacks band B05' in str(error)\n"
        "    assert not {'tensorflow', 'matplotlib'} & set(sys.modules)\n"
        "    sys.exit(0)\n"
        "sys.exit(1)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0
    assert not list(tmp_path.glob("map*"))
