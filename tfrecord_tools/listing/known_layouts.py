"""Names by which the files of each data set are recognized, and what a folder or tar of other data contains."""

from __future__ import annotations

import collections
import itertools
import os
import re
import shlex
import tarfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bigearth_tf.data.datasets.eurosat_ms import CLASS_NAMES
from bigearth_tf.runtime.system_files import is_system_file, shorten_names
from tfrecord_tools.listing.packed_files import explain_packed_file

_MAX_ENTRIES, _MAX_ENTRIES_PER_FOLDER = 3000, 300

S1_PATCH = re.compile(r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d{5,6}_\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}")
V1_S2_PATCH = re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{5,6}_\d{1,2}_\d{1,2}")
V2_S2_PATCH = re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}")
_SEN12MS_IMAGE = re.compile(r"/ROIs\d{4}_(spring|summer|fall|winter)_(s1|s2|lc)_\d+_p\d+\.tif$")
_EUROSAT_CLASS = "|".join(CLASS_NAMES)
# Folders of patches of any version: a walk that looks for others need not enter them.
PATCH_FOLDER = re.compile(f"{S1_PATCH.pattern}|{V1_S2_PATCH.pattern}|{V2_S2_PATCH.pattern}")


class Layout(NamedTuple):
    """A data set on disk: a pattern within its paths, what it is, and how to go on.

    One of `sources` takes it with `flag`; without a source, `advice` is the step before, in which `{path}` is the path
    that matched, and `{flag}` the flag for which it is meant.
    """

    pattern: re.Pattern[str]
    what: str
    sources: tuple[str, ...] = ()
    flag: str = ""
    advice: str = ""


# Source -> what it needs in addition to the patches.
_FURTHER_FLAGS = {"bigearthnet_v2": " --metadata=metadata.parquet"}
# The first row that matches decides. A path begins with "/" and is relative to the root.
_LAYOUTS = (
    Layout(
        re.compile(rf"/{V2_S2_PATCH.pattern}_reference_map\.tiff?$"),
        "reference maps of BigEarthNet v2.0",
        ("bigearthnet_v2",),
        "maps",
    ),
    Layout(
        re.compile(rf"/{V2_S2_PATCH.pattern}(/|$)"), "Sentinel-2 patches of BigEarthNet v2.0", ("bigearthnet_v2",), "s2"
    ),
    Layout(
        re.compile(rf"/{V1_S2_PATCH.pattern}(/|$)"), "Sentinel-2 patches of BigEarthNet v1.0", ("bigearthnet_v1",), "s2"
    ),
    Layout(
        re.compile(rf"/{S1_PATCH.pattern}(/|$)"),
        "Sentinel-1 patches of BigEarthNet",
        ("bigearthnet_v1", "bigearthnet_v2"),
        "s1",
    ),
    Layout(
        re.compile(r"/bigearthnet_v1_(source|labels)_"),
        "BigEarthNet v1.0 in the layout of Radiant MLHub, which has other names and keeps labels in other files",
        advice="get the archive itself from https://bigearth.net",
    ),
    Layout(_SEN12MS_IMAGE, "patches of SEN12MS", ("sen12ms",), "input"),
    Layout(
        re.compile(rf"/(?P<name>{_EUROSAT_CLASS})/(?P=name)_\d+\.tiff?$"),
        "multispectral images of EuroSAT",
        ("eurosat_ms",),
        "input",
    ),
    Layout(
        re.compile(rf"/(?P<name>{_EUROSAT_CLASS})/(?P=name)_\d+\.(jpe?g|png)$", re.IGNORECASE),
        "color pictures of EuroSAT, which have 3 of the 13 bands",
        advice="get the multispectral images (EuroSAT_MS or EuroSATallBands) from https://github.com/phelber/EuroSAT",
    ),
    Layout(
        re.compile(r"/(train|val|test)-\d{5}-of-\d{5}\.tfrecord$"),
        "records that are converted already",
        advice="name this folder as --data_dir of `python -m experiments.train`",
    ),
    Layout(
        re.compile(r"/(train|val|validation|test)_\d+\.tfrecord$"),
        "int64 TFRecords of BigEarthNet-19",
        ("int64_tfrecords",),
        "input",
    ),
    Layout(re.compile(r"\.tar$"), "a tar", advice="name the tar itself, {flag}{path}"),
    Layout(
        re.compile(r"\.(tgz|zip|((tar|gz|bz2|xz|zst)\.?[a-z]{2})|gz|gzip|bz2|xz|zst)$", re.IGNORECASE),
        "a packed archive",
        advice="unpack it",
    ),
)


def describe_other_data(root: str, source: str, flag: str) -> str:
    """Returns a sentence on what a folder or tar contains instead of what was looked for, and how to go on.

    If nothing is recognized, the sentence names the first files.

    Args:
        root: Folder or tar; only its first few thousand entries are read.
        source: The source that looked for patches.
        flag: Its flag that names the root; no advice leads to the same source and flag.

    Raises:
        OSError: A file cannot be read.
    """
    paths = list(itertools.islice(_sample(root), _MAX_ENTRIES))
    if known := _recognize(root, paths, source, flag):
        return known
    if not paths:
        return " It is empty."
    return f" It contains {shorten_names(sorted({path.split('/')[1] for path in paths}))}."


def recognize_data(root: str | None, source: str, flag: str) -> str:
    """Returns what `describe_other_data` does for data that are recognized, and "" for others or none."""
    if not root or not os.path.isdir(root):
        return ""
    return _recognize(root, list(itertools.islice(_sample(root), _MAX_ENTRIES)), source, flag)


def _recognize(root: str, paths: Sequence[str], source: str, flag: str) -> str:
    for layout in _LAYOUTS:
        path = next((path for path in paths if layout.pattern.search(path)), None)
        if path is not None and not (source in layout.sources and flag == layout.flag):
            return f" It contains {layout.what}, such as {path[1:]}: {_advise(layout, root, path, source, flag)}."
    return ""


def explain_renaming(root: str, name: str) -> str:
    """Returns the command that renames all files below a root, whose ending is that of a name, to end in `.tif`."""
    ending = os.path.splitext(name)[1]
    unpack = "" if os.path.isdir(root) else "Unpack the tar and name the folder; "
    folder = shlex.quote(root) if os.path.isdir(root) else "FOLDER"
    rename = """-exec sh -c 'mv "$1" "${1%.*}.tif"' _ {} ';'"""
    return f"{unpack}the files must end in .tif: find {folder} -name '*{ending}' {rename}"


def _advise(layout: Layout, root: str, path: str, source: str, flag: str) -> str:
    if layout.sources:
        fitting = source if source in layout.sources else " or ".join(layout.sources)
        return f"name them with --source={fitting}{_FURTHER_FLAGS.get(fitting, '')} --{layout.flag}={shlex.quote(root)}"
    whole = root + path
    if os.path.isfile(whole) and (packed := explain_packed_file(whole)):
        return f"it {packed}"
    return layout.advice.format(path=shlex.quote(whole), flag=f"--{flag}=" if flag else "")


def _sample(root: str) -> Iterator[str]:
    """Yields paths below the root, which begin with "/": those of a tree level by level."""
    if not os.path.isdir(root):
        with tarfile.open(root, "r:") as tar:
            for member in tar:
                if not is_system_file(member.name):
                    yield "/" + member.name
        return
    folders = collections.deque([""])
    while folders:
        folder = folders.popleft()
        try:
            names = sorted(
                itertools.islice((entry.name for entry in os.scandir(root + folder)), _MAX_ENTRIES_PER_FOLDER)
            )
        except OSError:
            continue  # The walk through all folders has raised this error already.
        for name in names:
            if not is_system_file(name):
                yield f"{folder}/{name}"
                if os.path.isdir(f"{root}{folder}/{name}"):
                    folders.append(f"{folder}/{name}")
