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
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigearth_tf.data.bands import S1, S2_ALL, get_bands
from bigearth_tf.data.datasets.bigearthnet_v2 import REFERENCE_MAP, SPEC
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19, label_indices
from tfrecord_tools.listing.archive import File, Folder, FolderFiles
from tfrecord_tools.listing.patch_matching import ListedPatch, find_folders, match_patches
from tfrecord_tools.listing.patch_ref import PatchRef
from tfrecord_tools.raster.geotiff import read_band
from tfrecord_tools.source import Patch, Source, SourceInputs, read_exclusions, require_inputs

if TYPE_CHECKING:
    import pandas

# The name of a tile is that of its patches without the two numbers at the end.
_S2_NAME = re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}")
_S1_NAME = re.compile(r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d{6}_\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}")
_S2_EXAMPLE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
# Sensor -> pattern of the names of its patch folders, an example, and the column of the metadata with these names.
_FOLDERS = {
    "S2": (_S2_NAME, _S2_EXAMPLE, "patch_id"),
    "S1": (_S1_NAME, "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_70_48", "s1_name"),
    REFERENCE_MAP.sensor: (_S2_NAME, _S2_EXAMPLE, "patch_id"),
}
_BAND_TABLE = {band.name: band for band in SPEC.bands}
_SENSOR_BANDS = {
    "S2": get_bands(S2_ALL, _BAND_TABLE),
    "S1": get_bands(S1, _BAND_TABLE),
    REFERENCE_MAP.sensor: (REFERENCE_MAP,),
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
        files = folder.locate()  # type: ignore[union-attr]  # This source lists folders only.
        for band in _SENSOR_BANDS[sensor]:
            pixels[band.name] = read_band(_band_file(files, band.name), band, gdal_only=gdal_only)
    return Patch(ref.patch_id, pixels, ref.labels, dict(ref.attributes))


def _band_file(files: FolderFiles, band_name: str) -> File:
    name = f"{files.folder.name}_{band_name}"
    file, other = files.file(f"{name}.tif"), files.file(f"{name}.tiff")
    return other if not file.exists() and other.exists() else file


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
    found: list[tuple[str, dict[str, Folder]]] = []
    for sensor, root in roots.items():
        pattern, example, _ = _FOLDERS[sensor]
        found.append((root, find_folders(root, sensor, pattern, example)))
    return match_patches(
        found, _listed_patches(metadata, tuple(roots), exclude), "not in the metadata", partial_archive
    )


def _listed_patches(
    metadata: pandas.DataFrame, sensors: Sequence[str], exclude: Collection[str]
) -> Iterator[ListedPatch]:
    names = zip(*(metadata[_FOLDERS[sensor][2]].tolist() for sensor in sensors))
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
