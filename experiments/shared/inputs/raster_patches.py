"""Patches that are stored as GeoTIFFs of any layout.

Bands, sizes, units and processing level are found out before the work, from up to `_SAMPLE` patches that are evenly
spaced over all; every patch is then converted in the same way, and one that does not fit is a problem of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from bigearth_tf.data.datasets import get_dataset, list_datasets
from bigearth_tf.serving.model_inputs import ModelInputs
from bigearth_tf.serving.patch_inputs import InputPatch, ListedPatches
from bigearth_tf.serving.units import ChosenConversion, DnConversion, check_decibels, check_level, choose_conversion
from experiments.shared.inputs.options import InputOptions, OpenedInputs
from experiments.shared.inputs.raster_reader import PatchFit, PatchReader, RasterPatch, StoredPatch

_SAMPLE = 64
_SAMPLE_BYTES = 256 << 20
_LEVEL = re.compile(r"MSI(L1C|L2A)|S2MSI(1C|2A)|Level-(1C|2A)")


@dataclasses.dataclass(frozen=True)
class StatedFacts:
    """What is known about the pixels of all patches without looking at them.

    `where` is what states it, for messages. `has_extent` says that all patches cover the ground that they should.
    """

    level: Optional[str] = None
    dn_offset: Optional[int] = None
    where: str = ""
    has_extent: bool = False


NOTHING_STATED = StatedFacts()


def open_raster_patches(
    patches: Sequence[RasterPatch],
    model: ModelInputs,
    options: InputOptions,
    *,
    what: str,
    attributes: tuple[str, ...] = (),
    facts: StatedFacts = NOTHING_STATED,
) -> OpenedInputs:
    """Returns patches as inputs, after finding out from a few of them how they are stored.

    Raises:
        ValueError: They do not fit the model, or it is not known whether they do; the message names the flag.
    """
    options, facts = _read_band_order(options, facts)
    reader = PatchReader(model, options.band_order)
    stored, problems = _sample(patches, reader)
    if not stored:
        raise ValueError(f"None of {len(problems)} {what} that were looked at can be read. {problems[0]}")
    lines = [f"{len(patches)} {what}"]
    chosen = _choose(stored, model, options, facts)
    lines += chosen.lines
    lines += _describe_reduction(stored, model)
    fit = PatchFit(model, chosen, reader, check_extent=not facts.has_extent)
    fitting = [problem for problem in map(fit.find_problem, stored.values()) if not problem]
    if not fitting:
        name, first = next(iter(stored.items()))
        raise ValueError(
            f"None of {len(stored)} {what} that were looked at fit the model. {name}: {fit.find_problem(first)}"
        )

    def read_one(number: int) -> InputPatch:
        return fit.read(patches[number])

    identity: dict[str, Any] = {
        "kind": what,
        "files_sha256": _hash_files(patches),
        "band_order": list(options.band_order),
        "conversion": dataclasses.asdict(chosen.conversion),
    }
    names = [patch.patch_id for patch in patches]
    inputs = ListedPatches(names, read_one, identity=identity, attributes=attributes)
    return OpenedInputs(inputs, tuple(line for line in lines if line))


def _read_band_order(options: InputOptions, facts: StatedFacts) -> tuple[InputOptions, StatedFacts]:
    """Returns the order of the bands and what is known, if `--band_order` is the name of a data set of GeoTIFFs."""
    if len(options.band_order) != 1 or options.band_order[0] not in list_datasets():
        return options, facts
    dataset = get_dataset(options.band_order[0])
    order = tuple(band.name for band in dataset.bands if band.sensor == "S2")
    if facts == NOTHING_STATED:
        facts = StatedFacts(dataset.level, 0, f"--band_order={dataset.name}")
    return dataclasses.replace(options, band_order=order), facts


def _sample(patches: Sequence[RasterPatch], reader: PatchReader) -> tuple[dict[str, StoredPatch], list[str]]:
    """Returns the stored bands of evenly spaced patches that can be read, and the problems of the others.

    Large patches are fewer: those of `_SAMPLE_BYTES`.
    """
    numbers = sorted({index * len(patches) // _SAMPLE for index in range(_SAMPLE)} & set(range(len(patches))))
    stored, problems, size = {}, [], 0
    for number in numbers:
        try:
            patch = reader.read(patches[number], with_place=True)
            stored[patches[number].patch_id] = patch
            size += sum(band.pixels.nbytes for band in patch.bands.values())
            if size > _SAMPLE_BYTES:
                break
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return stored, problems


def _choose(
    stored: Mapping[str, StoredPatch], model: ModelInputs, options: InputOptions, facts: StatedFacts
) -> ChosenConversion:
    """Returns the conversion of all patches, and what is said about it."""
    s1_names = [band.name for band in model.bands if band.unit == "dB"]
    check_decibels({name: [s.bands[band] for band in s1_names if band in s.bands] for name, s in stored.items()})
    if not model.dn_bands:
        return ChosenConversion(DnConversion(no_data=options.no_data), ())
    names = [band.name for band in model.dn_bands]
    samples = {name: [s.bands[band] for band in names if band in s.bands] for name, s in stored.items()}
    samples = {name: bands for name, bands in samples.items() if bands}
    if not samples:
        return ChosenConversion(DnConversion(no_data=options.no_data), ())
    level, where = _find_level(stored, facts)
    offset = _find_offset(stored) if facts.dn_offset is None else facts.dn_offset
    # Both are checked before either is reported: each may need a flag of its own.
    line, chosen, questions = "", None, []
    try:
        line = check_level(model.level, level, options.level, where)
    except ValueError as error:
        questions.append(str(error))
    try:
        chosen = choose_conversion(samples, dn_offset=options.dn_offset, stated_offset=offset, no_data=options.no_data)
    except ValueError as error:
        questions.append(str(error))
    if chosen is None or questions:
        raise ValueError("\n".join(questions))
    return chosen._replace(lines=(line, *chosen.lines))


def _find_offset(stored: Mapping[str, StoredPatch]) -> Optional[int]:
    """Returns the offset that the metadata of the inputs state, None if they state none."""
    offsets = {patch.stated_offset for patch in stored.values()}
    if len(offsets) > 1:
        raise ValueError(f"The metadata of the inputs state different offsets ({offsets}). Predict the kinds apart.")
    return offsets.pop()


def _find_level(stored: Mapping[str, StoredPatch], facts: StatedFacts) -> tuple[Optional[str], str]:
    """Returns the processing level that the inputs state, None if they state none, and where."""
    if facts.level:
        return facts.level, facts.where
    found: dict[str, str] = {}
    for name, patch in stored.items():
        for text in patch.texts:
            if match := _LEVEL.search(text):
                found.setdefault("L" + next(group for group in match.groups() if group).lstrip("L"), f"{name}: {text}")
        if "B10" in patch.bands:
            found.setdefault("L1C", f"{name} has B10, which Level-2A lacks")
    if len(found) > 1:
        raise ValueError(
            f"Some inputs are {' and others '.join(found)} ({'; '.join(found.values())}). Predict them apart."
        )
    return next(iter(found.items()), (None, ""))


def _describe_reduction(stored: Mapping[str, StoredPatch], model: ModelInputs) -> list[str]:
    patch = next(iter(stored.values()))
    reduced = [
        f"{band.name} ({patch.bands[band.name].pixels.shape[0]} to {band.size_px} px)"
        for band in model.dn_bands
        if band.name in patch.bands and patch.bands[band.name].pixels.shape[0] > band.size_px
    ]
    if not reduced:
        return []
    return [f"These bands are stored on a finer grid than their own; they are averaged to it: {', '.join(reduced)}."]


def _hash_files(patches: Sequence[RasterPatch]) -> str:
    """Returns a hash of the ids and of the places of all files; their content is not read."""
    digest = hashlib.sha256()
    for patch in patches:
        places = [f"{name} {file.path} {file.offset} {file.size}" for name, file in sorted(patch.files.items())]
        digest.update("\n".join([patch.patch_id, *places, ""]).encode(errors="surrogateescape"))
    return digest.hexdigest()
