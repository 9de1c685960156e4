"""Files that must be unpacked before their content can be read in place, and the command that unpacks each."""

from __future__ import annotations

import os
import re
import shlex

# First bytes -> kind, and the command that decompresses its input.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_ZIP = b"PK\x03\x04"
_COMPRESSED_ENDING = re.compile(r"\.(gz|gzip|bz2|xz|zst|zstd)$")
# Parts of an archive that was too large for one file: `x.tar.gzaa`, `x.tar.gzab`, or `x.tar.gz.aa`.
_PART = re.compile(r"(?P<whole>.+?\.(?P<ending>gz|bz2|xz|zst))(?P<dot>\.?)(?!ip$)[a-z]{2}$")
_COMMAND_OF_ENDING = {"gz": "gunzip", "bz2": "bunzip2", "xz": "unxz", "zst": "unzstd"}


def explain_packed_file(path: str) -> str:
    """Returns what a file is packed with and the command that unpacks it once; "" if it is not packed.

    The command reads the file as its input, because `gunzip FILE` refuses names that do not end in `.gz`.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as stream:
        start = stream.read(6)
    part = _PART.match(path)
    if part:
        parts = f"{shlex.quote(part['whole'] + part['dot'])}??"
        target = _COMPRESSED_ENDING.sub("", part["whole"])
        return (
            f"is a part of a compressed archive, whose members cannot be read in place. Join and decompress the parts "
            f"once: cat {parts} | {_COMMAND_OF_ENDING[part['ending']]} > {shlex.quote(target)}"
        )
    for magic, (kind, command) in _COMPRESSED.items():
        if start.startswith(magic):
            return (
                f"is compressed with {kind}, so that its members cannot be read in place. Decompress it once: "
                f"{command} < {shlex.quote(path)} > {shlex.quote(_unpacked_name(path))}"
            )
    if start.startswith(_ZIP):
        target = re.sub(r"\.zip$", "", path, flags=re.IGNORECASE)
        target = target if target != path else f"{path}_unpacked"
        return (
            f"is a zip, whose members cannot be read in place. Unpack it once, and name the folder: "
            f"unzip -q {shlex.quote(path)} -d {shlex.quote(target)}"
        )
    return ""


def _unpacked_name(path: str) -> str:
    """Returns a name that no file has yet, ending in `.tar`."""
    stem = re.sub(r"\.t(gz|bz2?|xz|zst)$", "", _COMPRESSED_ENDING.sub("", path))
    stem = stem[: -len(".tar")] if stem.endswith(".tar") else stem
    names = (f"{stem}{ending}.tar" for ending in ("", ".uncompressed", ".uncompressed2"))
    return next((name for name in names if not os.path.exists(name)), f"{stem}.uncompressed3.tar")
