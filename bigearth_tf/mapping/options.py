"""Options of a map."""

from __future__ import annotations

import dataclasses
from typing import Optional

from bigearth_tf.serving.units import check_dn_offset

# Values of the scene classification: cloud shadow, clouds of medium and of high probability, thin cirrus. Sen2Cor,
# https://sentinels.copernicus.eu/web/sentinel/technical-guides/sentinel-2-msi/level-2a/algorithm-overview
CLOUD_CLASSES = (3, 8, 9, 10)


@dataclasses.dataclass(frozen=True)
class MapOptions:
    """How a scene is mapped.

    `stride_px` is the distance between windows, half a patch if None. `band_order` names the bands of a file that does
    not name them. `dn_offset` is added to digital numbers where the scene does not state an offset. With `mask_scl`,
    pixels whose scene classification is one of `scl_classes` are no data. This process computes the share `task_index`
    of `num_tasks`. The bytes of the map depend on all but the last two.
    """

    stride_px: Optional[int] = None
    batch_size: int = 64
    band_order: tuple[str, ...] = ()
    dn_offset: Optional[int] = None
    mask_scl: bool = False
    scl_classes: tuple[int, ...] = CLOUD_CLASSES
    task_index: int = 0
    num_tasks: int = 1

    def __post_init__(self) -> None:
        """Checks the numbers that do not depend on the model.

        Raises:
            ValueError: A number is out of range.
        """
        if not 0 <= self.task_index < self.num_tasks:
            raise ValueError(
                f"--task_index={self.task_index} --num_tasks={self.num_tasks}: expected at least one task, and an "
                "index of 0 ... one less than their number."
            )
        check_dn_offset(self.dn_offset)
        if self.batch_size < 1:
            raise ValueError(f"--batch_size={self.batch_size}: allowed is 1 or more.")
