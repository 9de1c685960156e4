"""What is BigEarthNet v1.0? 590,326 Sentinel-2 patches of ten countries, each with its Sentinel-1 mate."""

from bigearth_tf import bands
from bigearth_tf.datasets import DatasetSpec

SPEC = DatasetSpec(
    name="bigearthnet_v1",
    bands=bands.S2_ALL + bands.S1,
    nomenclatures=("19", "43"),
    label_kind="multi",
    splits=("train", "val", "test"),
    source="BigEarthNet-MM v1.0, https://doi.org/10.1109/MGRS.2021.3089174, https://bigearth.net",
    licence="CDLA-Permissive-1.0",
)
