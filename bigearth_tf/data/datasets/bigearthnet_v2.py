"""BigEarthNet v2.0 (reBEN): 549,488 pairs of patches with 19 classes, 480,038 of them free of snow and cloud.

The places are those of v1.0, with reprocessed Sentinel-2 tiles, new labels, new splits and pixel-level reference maps
(https://arxiv.org/abs/2407.03653).
"""

import dataclasses

from bigearth_tf.data.bands import BANDS, PATCH_EXTENT_M, Band
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19

# Mean and standard deviation at native size over the train split, published by the authors ("no_interpolation"):
# https://github.com/lhackel-tub/ConfigILM/blob/8b3f8bed8845fa79d77bb25072bb1d07510f0627/configilm/extra/BENv2_utils.py
# NOTE: according to that file, those of VV and VH were computed over the patches of v1.0.
_STATISTICS = {
    "B01": (361.0767822265625, 575.0687255859375),
    "B02": (438.3720703125, 607.02685546875),
    "B03": (614.0556640625, 603.2968139648438),
    "B04": (588.4096069335938, 684.56884765625),
    "B05": (942.8433227539062, 738.4326782226562),
    "B06": (1769.931640625, 1100.4560546875),
    "B07": (2049.551513671875, 1275.805419921875),
    "B08": (2193.2919921875, 1369.3717041015625),
    "B8A": (2235.556640625, 1356.5440673828125),
    "B09": (2241.455322265625, 1316.393310546875),
    "B11": (1568.226806640625, 1070.1612548828125),
    "B12": (997.7324829101562, 813.5276489257812),
    "VV": (-12.643863677978516, 5.133493900299072),
    "VH": (-19.352558135986328, 5.590505599975586),
}

# Codes are the three digits of level 3, such as 311 for broad-leaved forest; 0 is no data. Codes are names: they
# have no mean and no standard deviation.
REFERENCE_MAP = Band(
    "reference_map", "MAP", 10, PATCH_EXTENT_M // 10, "uint16", "CORINE Land Cover code", mean=None, std=None
)

SPEC = DatasetSpec(
    name="bigearthnet_v2",
    bands=(
        *(dataclasses.replace(BANDS[name], mean=mean, std=std) for name, (mean, std) in _STATISTICS.items()),
        REFERENCE_MAP,
    ),
    nomenclatures={"19": CLASSES_19},
    label_kinds=(LabelKind.MULTI,),
    splits=("train", "val", "test"),
    source="BigEarthNet v2.0 (reBEN), https://doi.org/10.5281/zenodo.10891137, https://arxiv.org/abs/2407.03653",
    licence="CDLA-Permissive-1.0",
)
