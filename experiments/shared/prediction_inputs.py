"""The check, without TensorFlow, that an exported model takes the patches that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bigearth_tf.data.bands import BANDS
from bigearth_tf.data.labels import NOMENCLATURES


def check_model_takes(card: dict[str, Any], s2: bool, s1: bool) -> None:
    """Checks that a model takes patches of BigEarthNet v1.

    Args:
        card: The model card of an export.
        s2: Whether there are Sentinel-2 patches.
        s1: Whether there are Sentinel-1 patches.

    Raises:
        ValueError: The model takes bands that these patches lack, or has other classes.
    """
    find_nomenclature(card["class_names"])
    given = {"S2": s2, "S1": s1}
    for name, row in card["inputs"].items():
        band = BANDS.get(name)
        if band is None or (band.size_px, band.dtype) != (row["size_px"], row["dtype"]):
            found = f"{band.dtype} [{band.size_px}, {band.size_px}]" if band else "missing"
            raise ValueError(
                f"The model takes band {name} as {row['dtype']} [{row['size_px']}, {row['size_px']}]; in patches of "
                f"BigEarthNet v1 it is {found}. The model was trained on {card['dataset']['name']}."
            )
        if not given[band.sensor]:
            flag = f"--{band.sensor.lower()}"
            raise ValueError(f"The model takes band {name} of {band.sensor}: name those patches with {flag}.")


def find_nomenclature(class_names: Sequence[str]) -> str:
    """Returns the name of the nomenclature of BigEarthNet with these classes.

    Raises:
        ValueError: There is none.
    """
    for nomenclature, names in NOMENCLATURES.items():
        if tuple(class_names) == names:
            return nomenclature
    raise ValueError(
        f"The model's {len(class_names)} classes, {class_names[0]!r} ... {class_names[-1]!r}, match none of the "
        f"nomenclatures {', '.join(NOMENCLATURES)} in their order; it was not trained on BigEarthNet."
    )
