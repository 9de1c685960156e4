"""Lock on a folder that the ranks of a run write into, so that only one run at a time does."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from bigearth_tf.distributed.consensus import run_on_chief
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.runtime.locks import LockHeld, hold_lock

LOCK_NAME = ".lock"
# The processes of a job that is queued again, or that has lost a node, may still be ending on another node.
_WAIT_IN_JOB_S = 120.0
_POLL_S = 1.0


@contextlib.contextmanager
def lock_folder(folder: Path, replica: Replica) -> Iterator[None]:
    """Creates a folder and holds its lock on rank 0, for all ranks, while the context lasts.

    The lock ends with its process, however the process ends. A SLURM job waits for it for up to two minutes.

    Raises:
        LockHeld: On every rank; names the process that writes into the folder.
        OSError: On every rank; the folder cannot be created or written.
    """
    with contextlib.ExitStack() as held:
        run_on_chief(lambda: held.enter_context(_hold(folder)), replica)
        yield


@contextlib.contextmanager
def _hold(folder: Path) -> Iterator[None]:
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as held:
            _wait_for(lambda: held.enter_context(hold_lock(folder / LOCK_NAME, folder)))
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # Something was written into it.
                folder.rmdir()


def _wait_for(lock: Callable[[], object]) -> None:
    waits_until = time.monotonic() + (_WAIT_IN_JOB_S if "SLURM_JOB_ID" in os.environ else 0.0)
    has_waited = False
    while True:
        try:
            lock()
            return
        except LockHeld as error:
            if time.monotonic() > waits_until:
                raise
            if not has_waited:
                logging.warning("%s Waiting for up to %g s.", error, _WAIT_IN_JOB_S)
            has_waited = True
            time.sleep(_POLL_S)
