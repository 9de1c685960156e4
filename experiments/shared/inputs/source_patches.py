"""Patches of a data set in its published layout, by the sources of `tfrecord_tools`, with their labels.

All patches that are there are predicted, also those that a conversion would leave out. Patches without labels are
predicted too: those of BigEarthNet v2 without `--metadata`, those of v1 whose json is missing, images of EuroSAT
outside the folders of its classes, and patches of SEN12MS without maps.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets import find_level, get_dataset
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_43
from bigearth_tf.serving.model_inputs import ModelInputs
from bigearth_tf.serving.patch_inputs import InputPatch, ListedPatches, hash_names
from bigearth_tf.serving.units import check_level
from experiments.shared.inputs.options import (
    InputOptions,
    LabelTranslation,
    OpenedInputs,
    check_bands,
    refuse_options,
    share_without_data,
)
from experiments.shared.inputs.raster_files import TIFF, open_raster_files
from experiments.shared.inputs.raster_patches import StatedFacts
from tfrecord_tools.listing.patch_lists import PatchLists, official_lists_folder, read_patch_lists
from tfrecord_tools.listing.walk import list_files
from tfrecord_tools.source import Patch, SourceInputs
from tfrecord_tools.sources import open_source, sen12ms
from tfrecord_tools.sources.bigearthnet_v1 import find_patches, read_patch

_V1, _V2, _EUROSAT, _SEN12MS = "bigearthnet_v1", "bigearthnet_v2", "eurosat_ms", "sen12ms"
_INT64 = "int64_tfrecords"
# Value of `--lists_dir` for the lists of the package bigearthnet-common.
OFFICIAL_LISTS = "official"
_TAKES_SENSORS = (_V1, _V2)


def open_source_patches(what: Optional[str], model: ModelInputs, options: InputOptions) -> OpenedInputs:
    """Returns the patches of `options.source`, which are in `what`, or in `options.s2` and `options.s1`.

    Raises:
        ValueError: The source does not fit the model, or takes other flags.
        FileNotFoundError: There are no patches.
    """
    name = options.source or _V1
    refuse_options(options, f"Patches of {name}", ("band_order", "dn_offset", "no_data", "level"))
    inputs = _name_inputs(name, what, model, options)
    roots = " and ".join(root for root in (inputs.s2, inputs.s1, inputs.input) if root)
    if name in _OWN_LISTING and (opened := _OWN_LISTING[name](inputs, roots, model, options)):
        return opened
    source = open_source(name, inputs)
    refs = [ref for ref in source.refs if options.split in (None, ref.split)]
    if not refs:
        raise ValueError(f"{roots}: no patch of split {options.split!r}.")
    listed = _Listed(
        f"{len(refs)} patches of {name} in {roots}",
        tuple(ref.patch_id for ref in refs),
        lambda number: _with_split(source.read(refs[number]), refs[number].split),
        source.bands,
        source.class_names,
        (*source.attributes, "split"),
        source.spec.level,
    )
    return _open(name, listed, model, options)


@dataclasses.dataclass(frozen=True)
class _Listed:
    """Patches of a source: what they are, their ids, how to read one, and what is known of them."""

    what: str
    names: tuple[str, ...]
    read: Callable[[int], Patch]
    bands: tuple[Band, ...]
    class_names: tuple[str, ...]
    attributes: tuple[str, ...]
    level: Optional[str]


def _name_inputs(name: str, what: Optional[str], model: ModelInputs, options: InputOptions) -> SourceInputs:
    """Returns the flags of a source: `--input` is that of the only sensor that the model takes."""
    s2, s1, given = options.s2, options.s1, what
    if name in _TAKES_SENSORS and what:
        sensors = sorted({band.sensor for band in model.bands})
        if len(sensors) > 1 or s2 or s1:
            raise ValueError(f"The model takes bands of {' and '.join(sensors)}: name the folders with --s2 and --s1.")
        s2, s1, given = (what, None, None) if sensors == ["S2"] else (None, what, None)
    return SourceInputs(
        s2=s2,
        s1=s1,
        input=given,
        metadata=options.metadata,
        label_kind=options.label_kind,
        exclude=() if name == _V2 else None,
        # What is there is predicted, whether all is there or not; int64 records have no such flag.
        partial_archive=name != _INT64,
    )


def _with_split(patch: Patch, split: str) -> Patch:
    return dataclasses.replace(patch, attributes={**patch.attributes, "split": split})


def _open_v1(inputs: SourceInputs, roots: str, model: ModelInputs, options: InputOptions) -> OpenedInputs:
    """Returns the patches of v1 that are there, on a list or not; lists add country and season, and have splits."""
    lists = _read_lists(options.lists_dir)
    if options.split and lists is None:
        raise ValueError(f"--split={options.split}: the splits of {_V1} are in its lists: name them with --lists_dir.")
    folders = find_patches(inputs.s2, inputs.s1)
    if lists and options.split:
        folders = [pair for pair in folders if lists.split_of.get(pair[0].name) == options.split]
    if not folders:
        raise ValueError(f"No patch to predict, or no pair of Sentinel-2 and Sentinel-1 patches, in {roots}.")
    given = {sensor for sensor, root in (("S2", inputs.s2), ("S1", inputs.s1)) if root}
    listed = _Listed(
        f"{len(folders)} patches of {_V1} in {roots}",
        tuple(pair[0].name for pair in folders),
        lambda number: _add_place(read_patch(*folders[number], labels_optional=True), lists),
        tuple(band for band in get_dataset(_V1).bands if band.sensor in given),
        CLASSES_43,
        ("country", "season") if lists else (),
        find_level(_V1),
    )
    return _open(_V1, listed, model, options)


def _read_lists(lists_dir: Optional[str]) -> Optional[PatchLists]:
    """Returns the lists of v1 in a folder, or the official ones, which take seconds to read; None if none are named."""
    if not lists_dir:
        return None
    return read_patch_lists(official_lists_folder() if lists_dir == OFFICIAL_LISTS else Path(lists_dir))


def _add_place(patch: Patch, lists: Optional[PatchLists]) -> Patch:
    if lists is None or patch.patch_id not in lists.country_of:
        return patch
    place = {"country": lists.country_of[patch.patch_id], "season": lists.season_of[patch.patch_id]}
    return dataclasses.replace(patch, attributes=place)


def _open_v2(inputs: SourceInputs, roots: str, model: ModelInputs, options: InputOptions) -> Optional[OpenedInputs]:
    """Returns the patches of v2 without labels if there is no metadata, else None."""
    if inputs.metadata:
        return None
    if inputs.s2 and inputs.s1:
        raise ValueError(f"--source={_V2}: pairs of Sentinel-2 and Sentinel-1 need --metadata, which names them.")
    return _open_unlabeled(_V2, roots, model, options)


def _open_eurosat(
    inputs: SourceInputs, roots: str, model: ModelInputs, options: InputOptions
) -> Optional[OpenedInputs]:
    """Returns images without labels if no folder is named after a class, else None."""
    if not inputs.input:
        return None
    files = list_files(inputs.input, TIFF).found
    folders = {os.path.basename(os.path.dirname(file.member or file.path)) for file in files}
    if not files or folders & set(get_dataset(_EUROSAT).nomenclatures["10"]):
        return None
    return _open_unlabeled(_EUROSAT, roots, model, dataclasses.replace(options, band_order=(_EUROSAT,)))


def _open_unlabeled(name: str, root: str, model: ModelInputs, options: InputOptions) -> OpenedInputs:
    refuse_options(options, f"Patches of {name} without labels", ("split",))
    facts = StatedFacts(find_level(name), 0, f"source {name}", has_extent=True)
    opened = open_raster_files(root, model, options, facts)
    return OpenedInputs(opened.inputs, (*opened.lines, "The labels are not known."))


def _open_sen12ms(
    inputs: SourceInputs, roots: str, model: ModelInputs, options: InputOptions
) -> Optional[OpenedInputs]:
    """Returns the patches of SEN12MS of which a part is missing everywhere, such as the maps; else None."""
    if not inputs.input:
        return None
    found, _ = sen12ms.find_parts(inputs.input)
    there = {part for parts in found.values() for part in parts}
    if not found or len(there) == 3:
        return None
    refuse_options(options, f"Patches of {_SEN12MS} without {', '.join({'s1', 's2', 'lc'} - there)}", ("split",))
    names, kind = tuple(found), LabelKind(options.label_kind or LabelKind.SINGLE)
    spec = get_dataset(_SEN12MS)
    listed = _Listed(
        f"{len(found)} patches of {_SEN12MS} with {', '.join(sorted(there))} in {roots}",
        names,
        lambda number: sen12ms.read_parts(names[number], found[names[number]], kind),
        tuple(band for band in spec.bands if band.sensor.lower() in there),
        spec.nomenclatures["10"],
        (),
        spec.level,
    )
    return _open(_SEN12MS, listed, model, options)


# Sources that list what is there in another way if labels are missing.
_OWN_LISTING: dict[str, Callable[[SourceInputs, str, ModelInputs, InputOptions], Optional[OpenedInputs]]] = {
    _V1: _open_v1,
    _V2: _open_v2,
    _EUROSAT: _open_eurosat,
    _SEN12MS: _open_sen12ms,
}


def _open(name: str, listed: _Listed, model: ModelInputs, options: InputOptions) -> OpenedInputs:
    check_bands(model, listed.bands, listed.what)
    lines = [listed.what]
    if model.dn_bands:
        lines.append(check_level(model.level, listed.level, None, f"source {name}"))
    labels = LabelTranslation(listed.class_names, model.class_names)
    lines.append(labels.line)
    inputs = ListedPatches(
        listed.names,
        functools.partial(_read, listed, labels, model),
        identity={
            "kind": f"source {name}",
            "names_sha256": hash_names(listed.names),
            "labels": [options.metadata, options.label_kind, options.lists_dir],
        },
        attributes=(*listed.attributes, *labels.attributes),
    )
    return OpenedInputs(inputs, tuple(line for line in lines if line))


def _read(listed: _Listed, labels: LabelTranslation, model: ModelInputs, number: int) -> InputPatch:
    patch = listed.read(number)
    missing = [band.name for band in model.bands if band.name not in patch.bands]
    if missing:
        raise ValueError(f"{patch.patch_id}: band {', '.join(missing)}, which the model takes, is missing.")
    names, others = labels.translate(patch.labels or None)
    bands = {band.name: patch.bands[band.name] for band in model.bands}
    attributes: dict[str, Any] = {**patch.attributes, **others}
    return InputPatch(patch.patch_id, bands, names, attributes, share_without_data(bands, model))
