"""BigEarthNet v1.0: 590,326 Sentinel-2 patches of ten countries, each with its Sentinel-1 counterpart."""

from bigearth_tf.data.bands import S1, S2_ALL, get_bands
from bigearth_tf.data.datasets import DatasetSpec
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import NOMENCLATURES

SPEC = DatasetSpec(
    name="bigearthnet_v1",
    bands=get_bands(S2_ALL + S1),
    nomenclatures=NOMENCLATURES,
    label_kinds=(LabelKind.MULTI,),
    splits=("train", "val", "test"),
    source="BigEarthNet-MM v1.0, https://doi.org/10.1109/MGRS.2021.3089174, https://bigearth.net",
    licence="CDLA-Permissive-1.0",
)
