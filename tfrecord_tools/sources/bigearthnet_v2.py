"""The source bigearthnet_v2 (reBEN): one folder per patch, in folders of tiles, and tables with everything else.

    BigEarthNet-S2/<tile>/<patch>/<patch>_B02.tif ...
    BigEarthNet-S1/<product>/<S1 patch>/<S1 patch>_VV.tif, ..._VH.tif
    Reference_Maps/<tile>/<patch>/<patch>_reference_map.tif

The folders of tiles may be missing, and files may end in `.tiff`. Labels, split, country and the Sentinel-1 name come
from two tables of the same form, and --metadata names one or both, separated by a comma: `metadata.parquet` has the
480,038 patches without seasonal snow, clouds and cloud shadow,
`metadata_for_patches_with_snow_cloud_or_shadow.parquet` the other 69,450, which have splits too. The archives contain
the patches of both. With the first table alone, the other patches are counted as not in the metadata; with both tables
they are counted as snow and cloud, or converted if --exclude is empty.

Tried on real files: both tables, 402 patches of Sentinel-2, one of Sentinel-1 and a reference map, in the layout of the
archive and in a tar.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigearth_tf.data.bands import S1, S2_ALL, get_bands
from bigearth_tf.data.datasets.bigearthnet_v2 import REFERENCE_MAP, SPEC
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19, label_indices
from tfrecord_tools.listing.known_layouts import S1_PATCH, V2_S2_PATCH
from tfrecord_tools.listing.patch_matching import FoldersOf, ListedPatch, find_folders, match_patches
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.raster.folder_bands import locate_files, read_folder_bands
from tfrecord_tools.source import Patch, Source, SourceInputs, read_exclusions, require_inputs

if TYPE_CHECKING:
    import pandas

_S2_EXAMPLE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
_BAND_TABLE = {band.name: band for band in SPEC.bands}
_SENSOR_BANDS = {
    "S2": get_bands(S2_ALL, _BAND_TABLE),
    "S1": get_bands(S1, _BAND_TABLE),
    REFERENCE_MAP.sensor: (REFERENCE_MAP,),
}
# Column of the metadata with the names of the folders.
_NAME_COLUMNS = {"S2": "patch_id", "S1": "s1_name", REFERENCE_MAP.sensor: "patch_id"}
_ENDINGS = (".tif", ".tiff")
_FOLDERS = {
    kind: FoldersOf(
        kind,
        pattern,
        example,
        tuple(f"_{band.name}{ending}" for band in _SENSOR_BANDS[kind] for ending in _ENDINGS),
        SPEC.name,
        flag,
    )
    for kind, pattern, example, flag in (
        ("S2", V2_S2_PATCH, _S2_EXAMPLE, "s2"),
        ("S1", S1_PATCH, "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_70_48", "s1"),
        (REFERENCE_MAP.sensor, V2_S2_PATCH, _S2_EXAMPLE, "maps"),
    )
}
_SPLITS = {"train": "train", "validation": "val", "test": "test"}
# Reason for leaving a patch out -> its column. A patch with several reasons is counted for the first.
_EXCLUSION_COLUMNS = {"snow": "contains_seasonal_snow", "cloud": "contains_cloud_or_shadow"}
_ATTRIBUTES = ("country", "s2v1_name")
# Column -> the type that pandas infers from its values.
_COLUMNS = {
    **dict.fromkeys(("patch_id", "s1_name", "split", *_ATTRIBUTES), "string"),
    **dict.fromkeys(_EXCLUSION_COLUMNS.values(), "boolean"),
}
_FIX = "Name the metadata.parquet of https://doi.org/10.5281/zenodo.10891137 with --metadata."


def open_source(inputs: SourceInputs) -> Source:
    """Returns the patches of `s2` or `s1`, or the pairs of both, by `metadata`; with `maps` each has its map too."""
    require_inputs(inputs, SPEC.name, ("metadata",), ("s2", "s1", "maps", "exclude", "partial_archive"))
    exclude = read_exclusions(inputs, tuple(_EXCLUSION_COLUMNS))
    given = {"S2": inputs.s2, "S1": inputs.s1, REFERENCE_MAP.sensor: inputs.maps}
    roots = {sensor: root for sensor, root in given.items() if root}
    tables = (inputs.metadata or "").split(",")
    refs, exclusions = list_patches(roots, read_metadata(tables), exclude, inputs.partial_archive)
    return Source(
        spec=SPEC,
        bands=tuple(band for sensor in roots for band in _SENSOR_BANDS[sensor]),
        class_names=CLASSES_19,
        label_kind=LabelKind.MULTI,
        refs=refs,
        read=functools.partial(read_patch, sensors=tuple(roots)),
        roots=tuple(roots.values()),
        origin=SPEC.source,
        exclusions=exclusions,
        attributes=_ATTRIBUTES,
        # Labels are in the tables: other tables give other records.
        options={
            "exclude": sorted(exclude),
            "metadata_sha256": sorted(hashlib.sha256(Path(table).read_bytes()).hexdigest() for table in tables),
        },
    )


def read_patch(ref: PatchRef, sensors: Sequence[str], *, gdal_only: bool = False) -> Patch:
    """Returns a listed patch.

    Args:
        ref: One that `list_patches` returned.
        sensors: "S2", "S1", "MAP", in the order of the parts.
        gdal_only: As for `ReadPatch`.

    Raises:
        PatchError: A file is missing or broken.
    """
    pixels: dict[str, np.ndarray] = {}
    for sensor, folder in zip(sensors, ref.parts):
        files = locate_files(folder, sensor)  # type: ignore[arg-type]  # This source lists folders only.
        pixels.update(read_folder_bands(files, _SENSOR_BANDS[sensor], _ENDINGS, gdal_only=gdal_only))
    return Patch(ref.patch_id, pixels, ref.labels, dict(ref.attributes))


def list_patches(
    roots: dict[str, str], metadata: pandas.DataFrame, exclude: Collection[str], partial_archive: bool = False
) -> tuple[list[PatchRef], dict[str, int]]:
    """Returns the patches to convert, and the number left out for each reason.

    Args:
        roots: Sensor ("S2", "S1", "MAP") -> folder or tar. A patch has a folder in each; the first gives its id.
        metadata: What `read_metadata` returns.
        exclude: Reasons (snow, cloud) that leave a patch out.
        partial_archive: Count listed patches that are missing, instead of raising an error.

    Raises:
        FileNotFoundError: A folder contains no patches, or listed patches are missing.
    """
    found = [find_folders(root, _FOLDERS[sensor]) for sensor, root in roots.items()]
    return match_patches(
        found, _listed_patches(metadata, tuple(roots), exclude), "not in the metadata", partial_archive
    )


def _listed_patches(
    metadata: pandas.DataFrame, sensors: Sequence[str], exclude: Collection[str]
) -> Iterator[ListedPatch]:
    names = zip(*(metadata[_NAME_COLUMNS[sensor]].tolist() for sensor in sensors))
    reasons = np.full(len(metadata), "", dtype=object)
    for reason in reversed([reason for reason in _EXCLUSION_COLUMNS if reason in exclude]):
        reasons[metadata[_EXCLUSION_COLUMNS[reason]].to_numpy(dtype=bool)] = reason
    texts = zip(*(metadata[name].tolist() for name in _ATTRIBUTES))
    attributes = (tuple(zip(_ATTRIBUTES, values)) for values in texts)
    return map(
        ListedPatch, names, metadata["split"].tolist(), reasons.tolist(), metadata["labels"].tolist(), attributes
    )


def read_metadata(paths: Sequence[str]) -> pandas.DataFrame:
    """Returns the rows of all tables. `split` is train, val or test.

    `labels` are tuples of the 19 classes, in the order of `CLASSES_19`; other columns are unchanged.

    Raises:
        FileNotFoundError: A table is missing.
        ValueError: A file is not such a table, a patch is in two rows, or a label or split is unknown.
    """
    # Slow to load, and not needed by processes that write shards.
    import pandas

    metadata = pandas.concat([_read_table(path) for path in paths], ignore_index=True)
    for column in ("patch_id", "s1_name"):
        twice = metadata.loc[metadata[column].duplicated(), column]
        if len(twice):
            raise ValueError(
                f"{', '.join(paths)}: {column} {twice.iloc[0]} is in two rows; expected each patch once. "
                "Name each table once, and drop one of the rows."
            )
    return metadata


def _read_table(path: str) -> pandas.DataFrame:
    import pandas

    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: the file is missing. {_FIX}")
    try:
        table = pandas.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); expected a complete parquet file. {_FIX}") from error
    missing = [column for column in (*_COLUMNS, "labels") if column not in table.columns]
    if missing or table.empty:
        raise ValueError(
            f"{path}: has no {'column ' + ', '.join(missing) if missing else 'rows'}; expected a row per patch and the "
            f"columns {', '.join((*_COLUMNS, 'labels'))}. {_FIX}"
        )
    for column, kind in _COLUMNS.items():
        null = table[column].isna().any()
        found = "null in part" if null else pandas.api.types.infer_dtype(table[column], skipna=False)
        if found != kind:
            raise ValueError(f"{path}: column {column} is {found}; expected {kind} in each row. {_FIX}")
    unknown = sorted(set(table["split"]) - set(_SPLITS))
    if unknown:
        raise ValueError(f"{path}: split {unknown[0]!r} is unknown; expected {', '.join(_SPLITS)}. {_FIX}")
    labels = _check_labels(path, table["patch_id"], table["labels"])
    return table.assign(split=table["split"].map(_SPLITS), labels=labels)


def _check_labels(path: str, patch_ids: Iterable[str], rows: Iterable[Any]) -> list[tuple[str, ...]]:
    """Returns each row's labels in the order of the classes; rows with the same labels share one tuple."""
    seen: dict[tuple[str, ...], tuple[str, ...]] = {}
    checked = []
    for patch_id, row in zip(patch_ids, rows):
        names = tuple(row) if isinstance(row, (np.ndarray, list)) else ()
        if names not in seen:
            try:
                seen[names] = tuple(CLASSES_19[index] for index in label_indices(names, CLASSES_19))
            except ValueError as error:
                raise ValueError(f"{path}: patch {patch_id}: {error} {_FIX}") from error
        if not names:
            raise ValueError(f"{path}: patch {patch_id}: labels are {row!r}; expected a list of class names. {_FIX}")
        checked.append(seen[names])
    return checked
