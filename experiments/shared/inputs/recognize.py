"""Recognition of the kind of inputs that a user names, and their opening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Optional

from bigearth_tf.data.manifest import MANIFEST_NAME
from bigearth_tf.serving.model_inputs import ModelInputs
from experiments.shared.inputs.options import InputOptions, OpenedInputs, refuse_options
from experiments.shared.inputs.path_table import open_path_table
from experiments.shared.inputs.raster_files import open_raster_files
from experiments.shared.inputs.record_folder import open_records
from experiments.shared.inputs.source_patches import open_source_patches

_TABLES = (".csv", ".parquet")
_OF_SOURCES = ("s2", "s1", "metadata", "label_kind")


_NOTHING_SAID = InputOptions()


class InputKind(NamedTuple):
    """A kind of inputs: what it is, whether a path is of this kind, and the function that opens it."""

    what: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, ModelInputs, InputOptions], OpenedInputs]


# The first row that matches decides.
KINDS = (
    InputKind("a folder of records", lambda path: (path / MANIFEST_NAME).is_file(), open_records),
    InputKind("a table of paths", lambda path: path.is_file() and path.suffix in _TABLES, open_path_table),
    InputKind("GeoTIFFs", lambda path: True, lambda path, *rest: open_raster_files(str(path), *rest)),
)


def open_inputs(what: Optional[str], model: ModelInputs, options: InputOptions = _NOTHING_SAID) -> OpenedInputs:
    """Returns the inputs that a user names.

    Args:
        what: A folder of records, a folder or tar of patches, a pattern of GeoTIFFs, or a table of paths; None if the
            options name folders of a source.
        model: What the model takes.
        options: What the user says about them.

    Raises:
        ValueError: They do not fit the model, or something about them is not known; the message names the flag.
        FileNotFoundError: There is nothing.
    """
    if options.source or options.s2 or options.s1:
        return open_source_patches(what, model, options)
    refuse_options(options, "Inputs without --source", _OF_SOURCES)
    if not what:
        raise ValueError("Name what to predict with --input, or patches of BigEarthNet with --source, --s2 and --s1.")
    path = Path(what).expanduser()
    kind = next(kind for kind in KINDS if kind.matches(path))
    opened = kind.open(path, model, options)
    return OpenedInputs(opened.inputs, (f"{what}: taken for {kind.what}", *opened.lines))
