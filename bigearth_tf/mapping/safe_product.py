"""Metadata of a Sentinel-2 product in SAFE format: processing level, offsets of its digital numbers, image files.

The names and the layout are those of the Products Specification Document, S2-PDGS-TAS-DI-PSD, issues 14.2 to 15.0
(https://sentinels.copernicus.eu/documents/247904/685211/Sentinel-2-Products-Specification-Document): the compact
naming in use since December 2016.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import Optional
from xml.etree import ElementTree

from bigearth_tf.mapping.scene_files import SceneFiles

# Level -> name of the metadata file, and the elements of quantification and offset.
_LEVELS = {
    "L2A": ("MTD_MSIL2A.xml", "BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET"),
    "L1C": ("MTD_MSIL1C.xml", "QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET"),
}
# `band_id` of an offset is the place of the band in this order, that of PHYSICAL_BAND_NAME in the document.
_BANDS_BY_ID = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
# From this baseline on, digital numbers have an offset, which the metadata must state:
# https://sentinels.copernicus.eu/web/sentinel/-/copernicus-sentinel-2-major-products-upgrade-upcoming
_FIRST_BASELINE_WITH_OFFSET = 4.0
_QUANTIFICATION = 10000.0


@dataclasses.dataclass(frozen=True)
class SafeProduct:
    """What a product states about itself.

    `dn_offsets` maps a band to what is added to its digital numbers to get reflectance x 10000; None if the product
    must state it and does not. `image_paths` are the paths of the images, without their extension.
    """

    name: str
    level: str
    baseline: str
    dn_offsets: Optional[dict[str, int]]
    image_paths: tuple[str, ...]


def find_product(files: SceneFiles) -> SafeProduct | None:
    """Returns the product of a folder or zip, None if there is no metadata file of a product.

    Raises:
        ValueError: There are several products, or the metadata cannot be understood.
    """
    found = [
        (name, level) for level, (metadata, _, _) in _LEVELS.items() for name in files.names
        if posixpath.basename(name) == metadata
    ]  # fmt: skip
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{files.root}: has {len(found)} products ({', '.join(name for name, _ in found)}). Name one.")
    (name, level), shown = found[0], files.shown(found[0][0])
    try:
        root = ElementTree.fromstring(files.read(name))
    except ElementTree.ParseError as error:
        raise ValueError(f"{shown}: is not valid XML ({error}). It is cut or damaged: download it again.") from error
    # The root element has a namespace that changes with the issue of the document, those below it have none.
    texts: dict[str, list[str]] = {}
    for element in root.iter():
        texts.setdefault(element.tag.rpartition("}")[2], []).append((element.text or "").strip())
    _, quantification, _ = _LEVELS[level]
    for value in texts.get(quantification, [])[:1]:
        if float(value) != _QUANTIFICATION:
            raise ValueError(
                f"{shown}: {quantification} is {value}; the models expect reflectance x {_QUANTIFICATION:.0f}."
            )
    baseline = (texts.get("PROCESSING_BASELINE") or ["unknown"])[0]
    folder = posixpath.dirname(name)
    images = texts.get("IMAGE_FILE") or texts.get("IMAGE_FILE_2A") or []
    return SafeProduct(
        name=(texts.get("PRODUCT_URI") or texts.get("PRODUCT_URI_2A") or [posixpath.basename(folder)])[0],
        level=level,
        baseline=baseline,
        dn_offsets=_dn_offsets(root, level, baseline, shown),
        image_paths=tuple(posixpath.join(folder, image) for image in images),
    )


def _dn_offsets(root: ElementTree.Element, level: str, baseline: str, shown: str) -> Optional[dict[str, int]]:
    _, _, tag = _LEVELS[level]
    stated = {element.get("band_id"): float(element.text or "nan") for element in root.iter(tag)}
    if stated:
        try:
            return {_BANDS_BY_ID[int(str(band_id))]: round(offset) for band_id, offset in stated.items()}
        except (ValueError, IndexError) as error:
            raise ValueError(f"{shown}: its {tag} cannot be understood: {stated}.") from error
    older = re.fullmatch(r"\d\d\.\d\d", baseline) and float(baseline) < _FIRST_BASELINE_WITH_OFFSET
    return dict.fromkeys(_BANDS_BY_ID, 0) if older else None
