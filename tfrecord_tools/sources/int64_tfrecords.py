"""The source int64_tfrecords: the int64 TFRecords of BigEarthNet-19, listed in one pass and read in place.

The folder contains `train_00.tfrecord` and so on. The split of a patch is that of its file, the classes are the 19.
Patches on the exclusion lists were left out when these records were written; a record without a label is left out and
counted. No real records were at hand: the schemas are those of the code that wrote and read them.
"""

from __future__ import annotations

import functools
from pathlib import Path

from bigearth_tf.data.bands import Band
from bigearth_tf.data.datasets.bigearthnet_v1 import SPEC
from bigearth_tf.data.int64_schema import decode_int64_record, read_patch_id
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.runtime.progress import progress_bar
from tfrecord_tools.listing.archive import File
from tfrecord_tools.listing.int64_files import (
    Int64Shard,
    detect_format_of_files,
    int64_origin,
    list_int64_shards,
    read_frames,
)
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.source import Patch, PatchError, Source, SourceInputs, os_errors_as_problems, require_inputs

_FIX = "Copy this file again from its origin."


def open_source(inputs: SourceInputs) -> Source:
    """Returns the patches of the shards in the folder `input`."""
    require_inputs(inputs, "int64_tfrecords", ("input",))
    folder = str(inputs.input)
    shards = list_int64_shards(Path(folder))
    record_format, bands = detect_format_of_files(shards)
    refs, left_out = _list_records(shards, record_format)
    return Source(
        spec=SPEC,
        bands=bands,
        class_names=CLASSES_19,
        label_kind=LabelKind.MULTI,
        refs=refs,
        read=functools.partial(_read, bands=bands, record_format=record_format),
        roots=(folder,),
        origin=int64_origin(record_format),
        exclusions=left_out,
        options={"nomenclature": "19", "record_format": record_format},
    )


def _list_records(shards: list[Int64Shard], record_format: str) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the place of every record that has labels, and counts the others; this pass checks all checksums.

    Raises:
        ValueError: A shard is damaged, a record has no patch id, or two records have the same id.
    """
    refs: dict[str, PatchRef] = {}
    unlabeled: set[str] = set()
    with progress_bar(sum(shard.path.stat().st_size for shard in shards), "list", "B", unit_scale=True) as progress:
        for shard in shards:
            for index, frame in enumerate(read_frames(shard.path)):
                file = File(str(shard.path), frame.offset, len(frame.data), f"record {index}")
                try:
                    patch_id, is_unlabeled = read_patch_id(frame.data, record_format)
                except ValueError as error:
                    raise ValueError(f"{file}: {error}. {_FIX}") from error
                if patch_id in refs:
                    raise ValueError(f"{file}: patch {patch_id} is also in {refs[patch_id].parts[0]}.")
                refs[patch_id] = PatchRef(patch_id, shard.split, (file,))
                if is_unlabeled:
                    unlabeled.add(patch_id)
                progress.update(frame.num_bytes)
    taken = [ref for ref in refs.values() if ref.patch_id not in unlabeled]
    return taken, {"no_label": len(unlabeled)} if unlabeled else {}


def _read(ref: PatchRef, bands: tuple[Band, ...], record_format: str, *, gdal_only: bool = False) -> Patch:
    del gdal_only  # The records contain no GeoTIFF.
    file = ref.parts[0]
    assert isinstance(file, File)
    expected = f"patch {ref.patch_id} in the schema {record_format}"
    with os_errors_as_problems(file, expected):
        data = file.read_bytes()
    try:
        patch_id, indices, pixels = decode_int64_record(data, bands, record_format)
        if patch_id != ref.patch_id:
            raise ValueError(f"is now patch {patch_id}")
    except ValueError as error:
        raise PatchError(file, str(error), expected, _FIX) from error
    return Patch(patch_id, pixels, tuple(CLASSES_19[index] for index in indices))
