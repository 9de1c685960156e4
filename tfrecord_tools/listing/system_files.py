"""Names of files and folders that a system writes on its own, and that belong to no data set."""

from __future__ import annotations

import re

# Hidden ones are not data: `.DS_Store` and `._x.tif` of macOS, `.nfs0123` of NFS, `.Trash-1000`, `.snapshot`.
_NAME = (
    r"(?:\.(?!\.?(?:/|$))[^/]*|__MACOSX|lost\+found|Thumbs\.db|desktop\.ini|@eaDir|\$RECYCLE\.BIN"
    r"|System Volume Information)"
)
_PART_OF_PATH = re.compile(rf"(?:^|/){_NAME}(?:/|$)")


def is_system_file(path: str) -> bool:
    """Returns whether a name, or a part of a path with `/`, is that of a hidden file or of one of a system."""
    return _PART_OF_PATH.search(path) is not None
