"""SEN12MS: 180,662 pairs of Sentinel-1 and Sentinel-2 images of 2,560 m x 2,560 m, with maps of land cover.

Schmitt et al. 2019, https://doi.org/10.5194/isprs-annals-IV-2-W7-153-2019. Sentinel-2 is Level-1C: reflectance at the
top of the atmosphere, to which BigEarthNet's statistics do not apply. Every band was resampled to 10 m.

The classes are those of its classification benchmark (Schmitt and Wu 2021, https://arxiv.org/abs/2104.00704): the 17
of IGBP simplified to ten, including savanna. Order, sums and threshold are those of `load_sample` in
https://github.com/schmitt-muc/SEN12MS/blob/36060c380d45a9998d4db1f0c6b4e9c765ca6bb3/classification/dataset.py
"""

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind

# The band order within a file, one file per sensor: the loader published with the archive, https://mediatum.ub.tum.de/1474000
S2_BAND_NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
S1_BAND_NAMES = ("VV", "VH")

# Class name -> IGBP values.
IGBP_VALUES: dict[str, tuple[int, ...]] = {
    "Forest": (1, 2, 3, 4, 5),
    "Shrubland": (6, 7),
    "Savanna": (8, 9),
    "Grassland": (10,),
    "Wetlands": (11,),
    "Croplands": (12, 14),
    "Urban/Built-up": (13,),
    "Snow/Ice": (15,),
    "Barren": (16,),
    "Water": (17,),
}
CLASS_NAMES = tuple(IGBP_VALUES)

# A multi-label patch has the classes that cover at least a tenth of it; at least one of the ten classes does.
MULTI_LABEL_PERCENT = 10

SPEC = DatasetSpec(
    name="sen12ms",
    bands=tuple(Band(name, "S2", 10, 256, "uint16", "reflectance x 10000", None, None) for name in S2_BAND_NAMES)
    + tuple(Band(name, "S1", 10, 256, "float32", "dB", None, None) for name in S1_BAND_NAMES),
    nomenclatures={"10": CLASS_NAMES},
    label_kinds=(LabelKind.SINGLE, LabelKind.MULTI),
    splits=("train", "val", "test"),
    source="SEN12MS, https://doi.org/10.5194/isprs-annals-IV-2-W7-153-2019, https://mediatum.ub.tum.de/1474000",
    licence="CC-BY-4.0",
    level="L1C",
)
