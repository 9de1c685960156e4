"""Locks by which the processes of one host share a folder: many use it, one at a time fills it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bigearth_tf.runtime.locks import LockHeld, hold_lock


@contextlib.contextmanager
def hold_folder(folder: Path, keep: bool) -> Iterator[None]:
    """Creates a folder that no other process removes while this one holds it.

    Args:
        folder: The folder.
        keep: Whether the folder stays; otherwise the last process that leaves it removes it.
    """
    lock = folder.with_name(f"{folder.name}.lock")
    with contextlib.ExitStack() as shared:
        # It waits while another process removes the folder.
        shared.enter_context(hold_lock(lock, folder, shared=True, while_waiting=lambda: None))
        try:
            folder.mkdir(exist_ok=True)
            yield
        finally:
            shared.close()
            if not keep:
                with contextlib.suppress(LockHeld), hold_lock(lock, folder):
                    shutil.rmtree(folder, ignore_errors=True)


def lock_for_copying(folder: Path, while_waiting: Callable[[], object]) -> AbstractContextManager[None]:
    """Waits for its turn to copy into a folder, then makes others wait; calls `while_waiting` twice a second."""
    return hold_lock(folder / ".copying", folder, while_waiting=while_waiting)
