"""EuroSAT, multispectral: 27,000 Sentinel-2 images of 640 m x 640 m, each of one of ten classes.

Helber et al. 2019, https://doi.org/10.1109/JSTARS.2019.2918242. Level-1C: reflectance at the top of the atmosphere, to
which BigEarthNet's statistics do not apply. All 13 bands were resampled to 10 m before publication.
"""

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind

# The band order within a file, B8A last: https://github.com/phelber/EuroSAT/issues/7, and
# https://github.com/torchgeo/torchgeo/issues/2458, which shows that the ninth band of a file is a 60 m band.
BAND_NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")

CLASS_NAMES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)

SPEC = DatasetSpec(
    name="eurosat_ms",
    bands=tuple(Band(name, "S2", 10, 64, "uint16", "reflectance x 10000", None, None) for name in BAND_NAMES),
    nomenclatures={"10": CLASS_NAMES},
    label_kinds=(LabelKind.SINGLE,),
    splits=("train", "val", "test"),
    source="EuroSAT, https://doi.org/10.1109/JSTARS.2019.2918242, https://github.com/phelber/EuroSAT",
    licence="MIT",
    level="L1C",
)
