"""Names of files and folders that a system writes on its own, and that belong to no data set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

# Hidden ones are not data: `.DS_Store` and `._x.tif` of macOS, `.nfs0123` of NFS, `.Trash-1000`, `.snapshot`.
_NAME = (
    r"(?:\.(?!\.?(?:/|$))[^/]*|__MACOSX|lost\+found|Thumbs\.db|desktop\.ini|@eaDir|\$RECYCLE\.BIN"
    r"|System Volume Information)"
)
_PART_OF_PATH = re.compile(rf"(?:^|/){_NAME}(?:/|$)")


def is_system_file(path: str) -> bool:
    """Returns whether a name, or a part of a path with `/`, is that of a hidden file or of one of a system."""
    return _PART_OF_PATH.search(path) is not None


def list_own_files(folder: str | os.PathLike) -> list[str]:
    """Returns the names in a folder, sorted, without those of a system; an absent folder has none.

    Raises:
        OSError: The folder cannot be listed.
    """
    if not os.path.exists(folder):
        return []
    return sorted(name for name in os.listdir(folder) if not is_system_file(name))


def shorten_names(names: Sequence[str], limit: int = 3) -> str:
    """Returns text for a message: the first names, and the number of the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{', '.join(names[:limit])}{more}"
