"""Maps of whole scenes with an exported model.

    from bigearth_tf.mapping import map_scene
    made = map_scene("runs/demo/model", "S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS_20240830T134009.SAFE", "map.tif")

Importing this package loads GDAL, and no TensorFlow.
"""

from bigearth_tf.mapping.options import MapOptions
from bigearth_tf.mapping.scene_map import SceneMap, map_scene

__all__ = ["MapOptions", "SceneMap", "map_scene"]
