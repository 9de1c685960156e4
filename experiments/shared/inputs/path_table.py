"""Patches that a table lists: a CSV or Parquet file with a column `path`.

A path is a GeoTIFF of several bands or a folder with a file for each band, relative to the folder of the table.
Optional columns are `patch_id`, `labels` (names of classes separated by "; ") and `split`; every other column is an
attribute.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from bigearth_tf.serving.model_inputs import ModelInputs
from experiments.shared.inputs.options import OTHER_LABELS, InputOptions, OpenedInputs
from experiments.shared.inputs.raster_files import TIFF, group_files
from experiments.shared.inputs.raster_patches import open_raster_patches
from experiments.shared.inputs.raster_reader import RasterPatch
from tfrecord_tools.listing.archive import File
from tfrecord_tools.listing.walk import list_files

if TYPE_CHECKING:
    import pandas

_PATH, _ID, _LABELS, _SPLIT = "path", "patch_id", "labels", "split"
# Columns of the table of predictions: an attribute of such a name would replace one.
_TAKEN = ("no_data", "remark", "true_labels", "predicted", "top_class")


def open_path_table(path: Path, model: ModelInputs, options: InputOptions) -> OpenedInputs:
    """Returns the patches of a table.

    Raises:
        ValueError: It is not such a table, or its patches do not fit the model.
    """
    table = _read(path)
    if options.split is not None:
        if _SPLIT not in table:
            raise ValueError(f"{path}: --split={options.split} needs a column {_SPLIT}; it has {', '.join(table)}.")
        splits = sorted(set(table[_SPLIT]))
        table = table[table[_SPLIT] == options.split]
        if table.empty:
            raise ValueError(f"{path}: no row of split {options.split!r}; it has {', '.join(splits)}.")
    names = {name for labels in table.get(_LABELS, ()) for name in _split_labels(labels) or ()}
    is_known = names <= set(model.class_names)
    attributes = [
        name for name in table if name not in (_PATH, _ID, _LABELS) and "/" not in name and name not in _TAKEN
    ]
    patches = []
    for row in table.to_dict("records"):
        labels = _split_labels(row.get(_LABELS, ""))
        texts = {name: row[name] for name in attributes}
        if labels and not is_known:
            texts[OTHER_LABELS], labels = "; ".join(labels), None
        place = os.path.join(path.parent, row[_PATH])
        patches.append(RasterPatch(row.get(_ID) or _name_of(row[_PATH]), _find_files(place), labels, texts))
    more = () if is_known else (OTHER_LABELS,)
    return open_raster_patches(
        patches, model, options, what=f"patches that {path} lists", attributes=(*attributes, *more)
    )


def _read(path: Path) -> pandas.DataFrame:
    """Returns the table, all of text, "" where a cell is empty."""
    import pandas

    try:
        if path.suffix == ".parquet":
            table = pandas.read_parquet(path).astype(str)
        else:
            table = pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a table ({error}).") from error
    if _PATH not in table or table.empty:
        found = ", ".join(map(str, table)) or "none"
        raise ValueError(
            f"{path}: expected a row for each patch and a column {_PATH}; it has {len(table)} rows, columns {found}."
        )
    empty = table.index[table[_PATH] == ""]
    if len(empty):
        raise ValueError(f"{path}: row {empty[0] + 1} has no path.")
    return table


def _split_labels(text: str) -> Optional[tuple[str, ...]]:
    return tuple(name.strip() for name in text.split(";") if name.strip()) or None


def _name_of(path: str) -> str:
    name = os.path.basename(os.path.normpath(path))
    return os.path.splitext(name)[0] if TIFF.fullmatch(name) else name


def _find_files(place: str) -> dict[str, File]:
    """Returns the files of a path; a path that does not exist is a problem of its patch when it is read."""
    if not os.path.isdir(place):
        return {"": File(place)}
    try:
        _, patches = group_files(list_files(place, TIFF).found)
    except ValueError:
        return {"": File(place)}
    return patches[0].files if len(patches) == 1 else {"": File(place)}
