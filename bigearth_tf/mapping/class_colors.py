"""Colors of the classes of a map."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

Color = tuple[int, int, int]

# Class of the 43 of BigEarthNet -> its color in CORINE Land Cover's own legend, by code: clc_legend.csv, distributed
# with CLC 2018 (https://land.copernicus.eu/en/products/corine-land-cover/clc2018).
_CORINE: dict[str, Color] = {
    "Continuous urban fabric": (230, 0, 77),  # 111
    "Discontinuous urban fabric": (255, 0, 0),  # 112
    "Industrial or commercial units": (204, 77, 242),  # 121
    "Road and rail networks and associated land": (204, 0, 0),  # 122
    "Port areas": (230, 204, 204),  # 123
    "Airports": (230, 204, 230),  # 124
    "Mineral extraction sites": (166, 0, 204),  # 131
    "Dump sites": (166, 77, 0),  # 132
    "Construction sites": (255, 77, 255),  # 133
    "Green urban areas": (255, 166, 255),  # 141
    "Sport and leisure facilities": (255, 230, 255),  # 142
    "Non-irrigated arable land": (255, 255, 168),  # 211
    "Permanently irrigated land": (255, 255, 0),  # 212
    "Rice fields": (230, 230, 0),  # 213
    "Vineyards": (230, 128, 0),  # 221
    "Fruit trees and berry plantations": (242, 166, 77),  # 222
    "Olive groves": (230, 166, 0),  # 223
    "Pastures": (230, 230, 77),  # 231
    "Annual crops associated with permanent crops": (255, 230, 166),  # 241
    "Complex cultivation patterns": (255, 230, 77),  # 242
    "Land principally occupied by agriculture, with significant areas of natural vegetation": (230, 204, 77),  # 243
    "Agro-forestry areas": (242, 204, 166),  # 244
    "Broad-leaved forest": (128, 255, 0),  # 311
    "Coniferous forest": (0, 166, 0),  # 312
    "Mixed forest": (77, 255, 0),  # 313
    "Natural grassland": (204, 242, 77),  # 321
    "Moors and heathland": (166, 255, 128),  # 322
    "Sclerophyllous vegetation": (166, 230, 77),  # 323
    "Transitional woodland/shrub": (166, 242, 0),  # 324
    "Beaches, dunes, sands": (230, 230, 230),  # 331
    "Bare rock": (204, 204, 204),  # 332
    "Sparsely vegetated areas": (204, 255, 204),  # 333
    "Burnt areas": (0, 0, 0),  # 334
    "Inland marshes": (166, 166, 255),  # 411
    "Peatbogs": (77, 77, 255),  # 412
    "Salt marshes": (204, 204, 255),  # 421
    "Salines": (230, 230, 255),  # 422
    "Intertidal flats": (166, 166, 230),  # 423
    "Water courses": (0, 204, 242),  # 511
    "Water bodies": (128, 242, 230),  # 512
    "Coastal lagoons": (0, 255, 166),  # 521
    "Estuaries": (166, 255, 230),  # 522
    "Sea and ocean": (230, 242, 255),  # 523
}
# NOTE: classes of the 19 that unite several of CORINE have no color of their own: they get that of the named one.
_OF_19 = {
    "Urban fabric": "Discontinuous urban fabric",
    "Arable land": "Non-irrigated arable land",
    "Permanent crops": "Vineyards",
    "Natural grassland and sparsely vegetated areas": "Natural grassland",
    "Moors, heathland and sclerophyllous vegetation": "Moors and heathland",
    "Transitional woodland, shrub": "Transitional woodland/shrub",
    "Inland wetlands": "Peatbogs",
    "Coastal wetlands": "Salt marshes",
    "Inland waters": "Water courses",
    "Marine waters": "Sea and ocean",
}
_GOLDEN = 0.618034  # Successive hues that are this far apart never come close to each other.


def class_colors(class_names: Sequence[str]) -> tuple[Color, ...]:
    """Returns a different color for each class: CORINE's where the class has one, else one of a series of hues."""
    known = [_CORINE.get(_OF_19.get(name, name)) for name in class_names]
    colors: list[Color] = []
    step = 0
    for color in known:
        while color is None or (color in colors):
            color = _hue(step)
            color, step = (None if color in known else color), step + 1
        colors.append(color)
    return tuple(colors)


def _hue(step: int) -> Color:
    value = (0.85, 0.6)[step % 2]
    red, green, blue = colorsys.hsv_to_rgb(0.08 + step * _GOLDEN, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)
