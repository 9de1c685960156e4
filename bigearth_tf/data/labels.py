"""Class names in their order, and the map from the 43 CORINE classes to the 19 of the benchmark.

Names and order are those of `label_indices.json` of BigEarthNet-19
(https://git.tu-berlin.de/rsim/BigEarthNet-S2_19-classes_models), which is also the order of CORINE Land Cover codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

_LAND_WITH_NATURAL = "Land principally occupied by agriculture, with significant areas of natural vegetation"
_ARABLE = "Arable land"
_PERMANENT_CROPS = "Permanent crops"
_GRASSLAND = "Natural grassland and sparsely vegetated areas"
_MOORS = "Moors, heathland and sclerophyllous vegetation"

# Class of the 43, in the order of that nomenclature -> its class among the 19; None if the benchmark drops it.
CLC_43_TO_19: dict[str, str | None] = {
    "Continuous urban fabric": "Urban fabric",
    "Discontinuous urban fabric": "Urban fabric",
    "Industrial or commercial units": "Industrial or commercial units",
    "Road and rail networks and associated land": None,
    "Port areas": None,
    "Airports": None,
    "Mineral extraction sites": None,
    "Dump sites": None,
    "Construction sites": None,
    "Green urban areas": None,
    "Sport and leisure facilities": None,
    "Non-irrigated arable land": _ARABLE,
    "Permanently irrigated land": _ARABLE,
    "Rice fields": _ARABLE,
    "Vineyards": _PERMANENT_CROPS,
    "Fruit trees and berry plantations": _PERMANENT_CROPS,
    "Olive groves": _PERMANENT_CROPS,
    "Pastures": "Pastures",
    "Annual crops associated with permanent crops": _PERMANENT_CROPS,
    "Complex cultivation patterns": "Complex cultivation patterns",
    _LAND_WITH_NATURAL: _LAND_WITH_NATURAL,
    "Agro-forestry areas": "Agro-forestry areas",
    "Broad-leaved forest": "Broad-leaved forest",
    "Coniferous forest": "Coniferous forest",
    "Mixed forest": "Mixed forest",
    "Natural grassland": _GRASSLAND,
    "Moors and heathland": _MOORS,
    "Sclerophyllous vegetation": _MOORS,
    "Transitional woodland/shrub": "Transitional woodland, shrub",
    "Beaches, dunes, sands": "Beaches, dunes, sands",
    "Bare rock": None,
    "Sparsely vegetated areas": _GRASSLAND,
    "Burnt areas": None,
    "Inland marshes": "Inland wetlands",
    "Peatbogs": "Inland wetlands",
    "Salt marshes": "Coastal wetlands",
    "Salines": "Coastal wetlands",
    "Intertidal flats": None,
    "Water courses": "Inland waters",
    "Water bodies": "Inland waters",
    "Coastal lagoons": "Marine waters",
    "Estuaries": "Marine waters",
    "Sea and ocean": "Marine waters",
}

CLASSES_43: tuple[str, ...] = tuple(CLC_43_TO_19)

CLASSES_19: tuple[str, ...] = (
    "Urban fabric",
    "Industrial or commercial units",
    _ARABLE,
    _PERMANENT_CROPS,
    "Pastures",
    "Complex cultivation patterns",
    _LAND_WITH_NATURAL,
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    _GRASSLAND,
    _MOORS,
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)

NOMENCLATURES: dict[str, tuple[str, ...]] = {"19": CLASSES_19, "43": CLASSES_43}


def to_19_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the classes of the 19 that 43-class `names` map to, each once, in the order of `CLASSES_19`.

    The result is empty if the benchmark drops every name.

    Raises:
        ValueError: A name is not one of the 43, or is given twice.
    """
    names = tuple(names)
    label_indices(names, CLASSES_43)
    found = {CLC_43_TO_19[name] for name in names}
    return tuple(name for name in CLASSES_19 if name in found)


def map_to_nomenclature(names: Iterable[str], nomenclature: str) -> tuple[str, ...]:
    """Returns the classes of `nomenclature` that 43-class `names` map to, in the order of that nomenclature.

    Args:
        names: Classes of the 43.
        nomenclature: A key of `NOMENCLATURES`.

    Raises:
        ValueError: A name is not one of the 43, or is given twice.
    """
    if nomenclature == "19":
        return to_19_classes(names)
    return tuple(CLASSES_43[index] for index in label_indices(names, CLASSES_43))


def label_indices(names: Iterable[str], class_names: Sequence[str]) -> tuple[int, ...]:
    """Returns the ascending indices of `names` in `class_names`.

    Raises:
        ValueError: A name is not in `class_names`, or is given twice.
    """
    names = tuple(names)
    position = {name: index for index, name in enumerate(class_names)}
    unknown = [name for name in names if name not in position]
    if unknown:
        raise ValueError(
            f"Unknown label {', '.join(map(repr, unknown))}; allowed are the {len(class_names)} classes "
            f"{class_names[0]!r} ... {class_names[-1]!r} (see bigearth_tf/data/labels.py)."
        )
    if len(set(names)) != len(names):
        raise ValueError(f"A label is given twice: {', '.join(map(repr, names))}.")
    return tuple(sorted(position[name] for name in names))


def multi_hot(indices: Iterable[int], num_classes: int) -> np.ndarray:
    """Returns a float32 vector [num_classes] that is 1 at `indices` and 0 elsewhere.

    Raises:
        ValueError: An index is outside 0 ... num_classes - 1.
    """
    vector = np.zeros(num_classes, np.float32)
    for index in indices:
        if not 0 <= index < num_classes:
            raise ValueError(f"Label index {index} is outside 0 ... {num_classes - 1}.")
        vector[index] = 1.0
    return vector
