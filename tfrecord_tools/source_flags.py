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
    flags.DEFINE_string("s1", None, "Sentinel-1 patches of BigEarthNet; with --s2 the pairs.")
    flags.DEFINE_string("maps", None, "Reference maps of BigEarthNet v2, to store them as a further band.")
    flags.DEFINE_string("input", None, "Files of any other source.")
    flags.DEFINE_string("lists_dir", None, "Folder of lists for BigEarthNet v1; default: the official ones.")
    flags.DEFINE_string("metadata", None, "metadata.parquet of BigEarthNet v2; several tables with commas between.")
    flags.DEFINE_string(
        "nomenclature", None, "Classes of the labels, where a source has several; for BigEarthNet 19 or 43."
    )
    flags.DEFINE_enum(
        "label_kind",
        None,
        [kind.value for kind in (LabelKind.SINGLE, LabelKind.MULTI)],
        "Labels a patch, where a source has both.",
    )
    flags.DEFINE_list(
        "exclude", None, "Leave out patches for these reasons of BigEarthNet: snow, cloud, no_label (all)."
    )
    flags.DEFINE_bool("partial_archive", False, "Take what is there although listed patches are missing.")
    flags.DEFINE_integer("seed", 0, "Decides the splits of a source that has no official ones.", lower_bound=0)


def read_source_inputs() -> SourceInputs:
    """Returns what the flags of a source say."""
    values: dict[str, Any] = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(SourceInputs)}
    if values["exclude"] is not None:
        values["exclude"] = tuple(values["exclude"])
    return SourceInputs(**values)
