"""The source eurosat_ms: multispectral EuroSAT, one GeoTIFF of 13 bands per image, in a folder named after its class.

`Forest/Forest_1.tif`. There are no official splits: `tfrecord_tools.listing.seeded_splits` splits each class.

Tried on real files: ten images of each class.
"""

from __future__ import annotations

import os
import re

from bigearth_tf.data.datasets.eurosat_ms import CLASS_NAMES, SPEC
from bigearth_tf.data.label_kind import LabelKind
from tfrecord_tools.listing.archive import File
from tfrecord_tools.listing.known_layouts import describe_other_data, explain_renaming
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.listing.seeded_splits import SPLIT_SHARES, assign_splits
from tfrecord_tools.listing.walk import list_files, require_all_groups
from tfrecord_tools.raster.geotiff import read_bands
from tfrecord_tools.source import Patch, Source, SourceInputs, require_inputs

# Hidden files are not images: some systems put `._Forest_1.tif` into a tar.
_ANY_TIFF = re.compile(r"[^.].*\.tiff?", re.IGNORECASE)
_NAME = re.compile(r"([A-Za-z]+)_([1-9]\d*)\.tif")


def open_source(inputs: SourceInputs) -> Source:
    """Returns the images of `input`, split by `seed`."""
    require_inputs(inputs, SPEC.name, ("input",), ("seed", "label_kind", "partial_archive"))
    root = str(inputs.input)
    if inputs.label_kind not in (None, LabelKind.SINGLE):
        raise ValueError(f"--label_kind={inputs.label_kind}: an image of {SPEC.name} has one label; allowed is single.")
    files, left_out = _list_images(root)
    require_all_groups(root, CLASS_NAMES, {_class_of(patch_id) for patch_id in files}, inputs.partial_archive)
    strata: dict[str, list[str]] = {}
    for patch_id in files:
        strata.setdefault(_class_of(patch_id), []).append(patch_id)
    split_of = assign_splits(strata, inputs.seed)
    return Source(
        spec=SPEC,
        bands=SPEC.bands,
        class_names=CLASS_NAMES,
        label_kind=LabelKind.SINGLE,
        refs=[PatchRef(name, split_of[name], (file,), (_class_of(name),)) for name, file in files.items()],
        read=_read_listed,
        roots=(root,),
        origin=SPEC.source,
        exclusions=left_out,
        options={"seed": inputs.seed, "split_percent": dict(SPLIT_SHARES)},
    )


def _class_of(patch_id: str) -> str:
    return patch_id.rsplit("_", 1)[0]


def _list_images(root: str) -> tuple[dict[str, File], dict[str, int]]:
    """Returns patch id -> file of every image, each in the folder of its class; and what was left out, by reason."""
    found: dict[str, File] = {}
    listing = list_files(root, _ANY_TIFF)
    for file in listing.found:
        folder, name = os.path.split(file.member or file.path)
        class_name = os.path.basename(folder)
        if class_name not in CLASS_NAMES:
            raise ValueError(
                f"{file}: folder {class_name!r} is not a class of EuroSAT; allowed are {', '.join(CLASS_NAMES)}. "
                f"Move other images elsewhere.{describe_other_data(root, SPEC.name, 'input')}"
            )
        match = _NAME.fullmatch(name)
        stem, ending = os.path.splitext(name)
        if not match and ending != ".tif" and _NAME.fullmatch(stem + ".tif"):
            raise ValueError(
                f"{file}: file {name!r} does not belong in folder {class_name}: {explain_renaming(root, name)}"
            )
        if not match or match[1] != class_name:
            raise ValueError(
                f"{file}: file {name!r} does not belong in folder {class_name}; allowed are names such as "
                f"{class_name}_1.tif. Move it back, or unpack the archive again."
            )
        patch_id = name[: -len(".tif")]
        if patch_id in found:
            raise ValueError(f"{root}: image {patch_id} is in two places, {found[patch_id]} and {file}. Keep one.")
        found[patch_id] = file
    if not found:
        raise FileNotFoundError(
            f"{root}: no images found, files such as Forest/Forest_1.tif."
            f"{describe_other_data(root, SPEC.name, 'input')}"
        )
    return found, listing.left_out


def _read_listed(ref: PatchRef, *, gdal_only: bool = False) -> Patch:
    (file,) = ref.parts
    assert isinstance(file, File), file
    pixels = read_bands(file, SPEC.bands, gdal_only=gdal_only)
    return Patch(ref.patch_id, {band.name: array for band, array in zip(SPEC.bands, pixels)}, ref.labels)
