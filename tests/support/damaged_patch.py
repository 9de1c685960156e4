"""Ways to damage one patch of a small archive."""

from __future__ import annotations

import json
import struct

import numpy as np
from osgeo import gdal

from bigearth_tf.data.bands import BANDS
from tests.support.archives import S1_NAMES, S2_NAMES, random_pixels
from tfrecord_tools.raster.geotiff import utm_wkt


class DamagedPatch:
    """The two folders of pair `index` of the archive in `root`; each method changes one of their files."""

    def __init__(self, root, index):
        self.root, self.index = root, index
        self.s2, self.s1 = root / "s2" / S2_NAMES[index], root / "s1" / S1_NAMES[index]

    def tif(self, band="B03"):
        folder = self.s2 if BANDS[band].sensor == "S2" else self.s1
        return folder / f"{folder.name}_{band}.tif"

    def json(self, folder=None):
        folder = folder or self.s2
        return folder / f"{folder.name}_labels_metadata.json"

    def change_json(self, folder=None, **values):
        path = self.json(folder)
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def rewrite(self, band="B03", pixels=None, options=(), crs_wkt=None, geotransform=(404400, 10, 0, 5342400, 0, -10)):
        """Writes a band again with GDAL: the same pixels unless others are given, [H, W] or [bands, H, W]."""
        path = self.tif(band)
        old = gdal.Open(str(path)).ReadAsArray()
        pixels = np.atleast_3d(old if pixels is None else pixels)
        pixels = pixels.transpose(2, 0, 1) if pixels.shape[2] == 1 else pixels
        path.unlink()
        types = {
            "uint16": gdal.GDT_UInt16,
            "float32": gdal.GDT_Float32,
            "uint8": gdal.GDT_Byte,
            "int16": gdal.GDT_Int16,
        }
        types["uint32"], types["float64"] = gdal.GDT_UInt32, gdal.GDT_Float64
        count, height, width = pixels.shape
        driver = gdal.GetDriverByName("GTiff")
        dataset = driver.Create(str(path), width, height, count, types[pixels.dtype.name], options=list(options))
        dataset.SetProjection(utm_wkt(33) if crs_wkt is None else crs_wkt)
        dataset.SetGeoTransform(geotransform)
        for index in range(count):
            dataset.GetRasterBand(index + 1).WriteArray(pixels[index])
        del dataset

    def rewrite_sparse(self):
        self.tif().unlink()
        driver = gdal.GetDriverByName("GTiff")
        driver.Create(str(self.tif()), 120, 120, 1, gdal.GDT_UInt16, options=["SPARSE_OK=YES"])

    def cut(self, keep, band="B03"):
        content = self.tif(band).read_bytes()
        self.tif(band).write_bytes(content[:keep])

    def poke(self, position, new, band="B03"):
        content = bytearray(self.tif(band).read_bytes())
        content[position : position + len(new)] = new
        self.tif(band).write_bytes(content)

    def set_tag(self, tag, value, band="B03"):
        """Sets the value of an entry in the TIFF's directory; for several numbers, the value is their place."""
        content = self.tif(band).read_bytes()
        (start,) = struct.unpack_from("<I", content, 4)
        (entries,) = struct.unpack_from("<H", content, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            if struct.unpack_from("<H", content, entry)[0] == tag:
                self.poke(entry + 8, struct.pack("<I", value), band)
                return
        raise AssertionError(f"no tag {tag}")

    def become_folder(self, path):
        path.unlink()
        path.mkdir()

    def put_pixel(self, value):
        pixels = random_pixels(BANDS["VV"], self.index)
        pixels[7, 5] = value
        self.rewrite("VV", pixels)

    def link(self, path, to):
        path.rename(to) if path.exists() else None
        path.symlink_to(to)
