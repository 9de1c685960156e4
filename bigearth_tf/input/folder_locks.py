"""Locks by which the processes of one host share a folder: many use it, one at a time fills it.

The locks (flock) vanish when their process ends, for any reason.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_S = 0.5
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextlib.contextmanager
def hold_folder(folder: Path, keep: bool) -> Iterator[None]:
    """Creates a folder that no other process removes while this one holds it.

    Args:
        folder: The folder.
        keep: Whether the folder stays; otherwise the last process that leaves it removes it.

    Raises:
        ValueError: The file system has no locks.
    """
    path = folder.with_name(f"{folder.name}.lock")
    lock = _lock_shared(path)
    try:
        folder.mkdir(exist_ok=True)
        yield
    finally:
        if not keep and _try_lock(lock, fcntl.LOCK_EX):
            shutil.rmtree(folder, ignore_errors=True)
            path.unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def lock_for_copying(folder: Path, while_waiting: Callable[[], object]) -> Iterator[None]:
    """Waits for its turn to copy into a folder, then makes others wait; calls `while_waiting` twice a second."""
    lock = os.open(folder / ".copying", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(lock, fcntl.LOCK_EX):
            while_waiting()
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(lock)


def _lock_shared(path: Path) -> int:
    """Returns the descriptor of a lock file, created if it is missing, with a shared lock on it."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        while not _try_lock(lock, fcntl.LOCK_SH):  # Another process is removing the folder.
            time.sleep(_POLL_S)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)  # The file was removed in the meantime: no other process can find this lock.


def _try_lock(lock: int, kind: int) -> bool:
    """Takes a lock if it is free, and returns whether it was.

    Raises:
        ValueError: The file system has no locks.
    """
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise ValueError(
                "--stage_dir is on a file system without locks; name one on the host's own disk."
            ) from error
        raise
    return True
