"""The flags that every command with a source shares.

Importing this module defines no flag.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from bigearth_tf.data.label_kind import LabelKind
from tfrecord_tools.source import SourceInputs
from tfrecord_tools.sources import FORMER_NAMES, list_sources

# So that --help lists these flags with those of the command that defines them.
flags.disclaim_key_flags()


class _SourceParser(flags.EnumParser):
    """Parses the name of a source. It also takes former names, which --help does not show."""

    def parse(self, argument: str) -> str:
        """Returns the present name of a source."""
        return super().parse(FORMER_NAMES.get(argument, argument))


def define_source_flags(default: str | None, purpose: str) -> None:
    """Defines --source with this default and purpose, and a flag for each field of `SourceInputs`."""
    names = list_sources()
    flags.DEFINE(_SourceParser(names), "source", default, f"<{'|'.join(names)}>: {purpose}")
    flags.DEFINE_string("s2", None, "Sentinel-2 patches of BigEarthNet.")
    flags.DEFINE_string("s1", None, "Sentinel-1 patches of BigEarthNet; with --s2, pairs.")
    flags.DEFINE_string("maps", None, "Reference maps of BigEarthNet v2, to be stored as one more band.")
    flags.DEFINE_string("input", None, "Files of any other source: a folder or an uncompressed tar.")
    flags.DEFINE_string(
        "lists_dir",
        None,
        "Folder with the split lists train.csv, val.csv, test.csv for BigEarthNet v1; default: the official ones.",
    )
    flags.DEFINE_string("metadata", None, "metadata.parquet of BigEarthNet v2; several tables separated by commas.")
    flags.DEFINE_string("nomenclature", None, "Nomenclature of the labels, for BigEarthNet v1: 19 or 43 classes.")
    flags.DEFINE_enum(
        "label_kind",
        None,
        [kind.value for kind in (LabelKind.SINGLE, LabelKind.MULTI)],
        "One label per patch or several, for a source that has both.",
    )
    flags.DEFINE_list(
        "exclude", None, "Reasons to leave out patches of BigEarthNet: snow, cloud, no_label; default: all."
    )
    flags.DEFINE_bool("partial_archive", False, "Convert what is there although listed patches are missing.")
    flags.DEFINE_integer("seed", 0, "Decides the splits of a source without official ones.", lower_bound=0)


def read_source_inputs() -> SourceInputs:
    """Returns the values of the flags of a source."""
    values: dict[str, Any] = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(SourceInputs)}
    if values["exclude"] is not None:
        values["exclude"] = tuple(values["exclude"])
    return SourceInputs(**values)
