"""Locks by which processes, on one host or on several, take turns on a folder.

Each holder of a lock owns a claim: a file that names the holder. A process writes its claim, then reads all others; if
one conflicts and its holder is alive, the process withdraws its claim. A holder is alive while the kernel keeps its
lock (flock) on its claim. A holder also touches its claim every few seconds, for other hosts: a file system may have no
flock, or one that does not reach them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from bigearth_tf.runtime.error_file import write_error
from bigearth_tf.runtime.exit_codes import EXIT_LOST

# Two processes that write their claims in the same moment both withdraw, and both try again after a random time.
_TRIES = 5
_RETRY_S = 0.2
_POLL_S = 0.5
_TOUCH_S = 5.0
# A claim without flock that was not touched for this long belongs to a process that has ended.
_STALE_S = 60.0
# The same for a claim of another host whose flock is free: flock may not reach that host (Lustre's localflock).
_UNHEARD_S = 15.0
# Lustre mounted without flock, file systems without locks, NFS without a lock daemon.
_NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class LockHeld(ValueError):  # noqa: N818 - not an error of this process
    """Another process holds a lock; the message names the process."""


@dataclasses.dataclass(frozen=True)
class _Holder:
    """A process that holds a lock, as its claim names it.

    `kernel` identifies the running kernel and the namespace in which `process` and `started` are valid.
    """

    host: str = "an unknown host"
    process: int = 0
    since: str = "an unknown time"
    shared: bool = False
    has_flock: bool = True
    kernel: str = ""
    started: str = ""

    def __str__(self) -> str:
        """The holder for messages."""
        return f"process {self.process} on {self.host} since {self.since}"

    @property
    def is_on_this_kernel(self) -> bool:
        """Whether this process can see the holder in /proc."""
        return bool(self.started) and self.kernel == _this_kernel()

    @property
    def is_on_this_host(self) -> bool:
        """Whether the holder has the same kernel, perhaps in another namespace of process ids."""
        return self.kernel.split(" ")[0] == _this_kernel().split(" ")[0]


@contextlib.contextmanager
def hold_lock(
    path: Path, what: object, *, shared: bool = False, while_waiting: Callable[[], object] | None = None
) -> Iterator[None]:
    """Holds a lock while the context lasts.

    The lock ends with its process, however the process ends. Other hosts notice it after `_STALE_S` without flock, and
    may wait up to `_UNHEARD_S` with it.

    Args:
        path: Name of the lock in an existing folder; claims are files `<path>.<host>.<process>.<random>`.
        what: What the lock protects, for messages: the folder that the user named.
        shared: Whether other processes may hold the lock too, if they also share it.
        while_waiting: Called about twice a second while the lock is waited for; without it, nothing waits.

    Raises:
        LockHeld: Another process holds the lock, and `while_waiting` is None.
        OSError: The folder cannot be written.
    """
    claim = _acquire(path, what, shared, while_waiting)
    try:
        yield
    finally:
        claim.withdraw()


@contextlib.contextmanager
def hold_lock_beside(folder: Path) -> Iterator[None]:
    """Holds a lock on a folder that is replaced as a whole: its claims are next to it. Creates the parent folder.

    Raises:
        LockHeld: Another process holds the lock.
        OSError: The parent folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder.with_name(f".{folder.name}.lock"), folder):
        yield


def _acquire(path: Path, what: object, shared: bool, while_waiting: Callable[[], object] | None) -> _Claim:
    heard: dict[Path, float] = {}
    attempt = 0
    while True:
        claim = _Claim(path, what, shared, heard)
        try:
            holder = claim.find_conflict()
        except BaseException:
            claim.withdraw()
            raise
        if holder is None:
            claim.start_touching()
            return claim
        claim.withdraw()
        attempt += not claim.is_unsure
        if while_waiting is not None:
            while_waiting()
            time.sleep(random.uniform(_POLL_S / 2, _POLL_S))
        elif attempt < _TRIES:
            time.sleep(_POLL_S if claim.is_unsure else random.uniform(0, _RETRY_S))
        else:
            raise LockHeld(f"{what}: in use by {holder}. Wait for it, or end it, and run the same command.{claim.hint}")


class _Claim:
    """The claim of this process."""

    def __init__(self, lock: Path, what: object, shared: bool, heard: dict[Path, float]) -> None:
        """Writes the claim; other processes see it when it is complete and locked.

        Args:
            lock: Name of the lock.
            what: What the lock protects, for messages.
            shared: Whether others may hold it too.
            heard: Claim of another host -> when this process first saw it touched, kept from one attempt to the next.
        """
        self._lock, self._what, self._heard = lock, what, heard
        self._withdrawn = threading.Event()
        process, host = os.getpid(), socket.gethostname()
        self._path = lock.with_name(f"{lock.name}.{host}.{process}.{uuid.uuid4().hex[:8]}")
        unseen = lock.with_name(f".new-{self._path.name}")
        self._descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            self._has_flock = _try_flock(self._descriptor, fcntl.LOCK_EX) is not None
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            me = _Holder(host, process, since, shared, self._has_flock, _this_kernel(), _start_of(process))
            try:
                os.write(self._descriptor, json.dumps(dataclasses.asdict(me)).encode())
            except OSError as error:
                if error.errno not in _DISK_FULL:  # An empty claim locks too: only messages need the content.
                    raise
            unseen.rename(self._path)
        except BaseException:
            unseen.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise
        self._shared = shared
        self.hint, self.is_unsure = "", False

    def find_conflict(self) -> _Holder | None:
        """Returns a living process whose claim excludes this one; removes the claims of processes that have ended.

        `hint` is then what a message adds where the kernel cannot tell whether that process lives. `is_unsure` is
        whether only the next moments will show it.
        """
        for path in sorted(self._lock.parent.iterdir()):
            if not path.name.startswith(f"{self._lock.name}.") or path == self._path:
                continue
            try:
                holder = self._read_if_alive(path)
            except FileNotFoundError:  # Withdrawn in the meantime.
                continue
            if holder is None:
                path.unlink(missing_ok=True)
            elif not (self._shared and holder.shared):
                return holder
        return None

    def _read_if_alive(self, path: Path) -> _Holder | None:
        try:
            other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            return _Holder()
        try:
            holder = _Holder(**json.loads(os.read(other, 1 << 16)))
        except (ValueError, TypeError):  # A disk without space; a claim of another version.
            holder = _Holder(has_flock=self._has_flock)
        try:
            return holder if self._is_alive(holder, path, other) else None
        finally:
            os.close(other)

    def _is_alive(self, holder: _Holder, path: Path, other: int) -> bool:
        """Returns whether the holder of a claim, open as `other`, may be alive."""
        if holder.has_flock and self._has_flock:
            # Not LOCK_EX: two processes that look at the same time would take each other for the holder.
            if not _try_flock(other, fcntl.LOCK_SH):
                return True
            if holder.is_on_this_host or self._age_of(other) > _UNHEARD_S:
                return False
            touched = os.fstat(other).st_mtime
            self.is_unsure = self._heard.setdefault(path, touched) == touched
            return True
        if holder.is_on_this_kernel:
            return _start_of(holder.process) == holder.started
        if holder.has_flock:
            self.hint = f" If it has ended, delete {path}: this host cannot see that."
            return True
        self.hint = f" If it was killed, the folder is free {_STALE_S:g} s later."
        return self._age_of(other) < _STALE_S

    def _age_of(self, other: int) -> float:
        """Returns the seconds since a claim was touched, by the clock of the file system: those of hosts may differ."""
        os.utime(self._path)
        return os.stat(self._path).st_mtime - os.fstat(other).st_mtime

    def start_touching(self) -> None:
        """Shows other hosts that this process is alive, where flock cannot."""
        if not self._has_flock:
            logging.log_first_n(
                logging.WARNING,
                "%s: its file system has no flock. The files %s.* lock it instead; when a process is killed, other "
                "hosts notice it after %g s.", 1, self._what, self._lock, _STALE_S,
            )  # fmt: skip
        threading.Thread(target=self._touch, name="lock", daemon=True).start()

    def _touch(self) -> None:
        while not self._withdrawn.wait(_TOUCH_S):
            try:
                os.utime(self._path)
            except FileNotFoundError:
                if self._withdrawn.is_set():
                    return
                message = (
                    f"{self._what}: this process lost its lock {self._path}: it was frozen for more than {_STALE_S:g} "
                    "s and another process took over, or the file was removed. Run the same command to resume."
                )
                write_error(message)
                sys.stderr.write(f"error: {message}\n")
                sys.stderr.flush()
                os._exit(EXIT_LOST)
            except OSError as error:  # A file system that does not answer now may answer later.
                logging.warning("%s: cannot be touched: %s", self._path, error)

    def withdraw(self) -> None:
        """Removes the claim."""
        self._withdrawn.set()
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _try_flock(descriptor: int, kind: int) -> bool | None:
    """Takes a lock of the kernel; returns whether it was free, None if the file system has no such locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return None
        raise
    return True


def _this_kernel() -> str:
    """Returns what identifies the running kernel and this namespace of process ids; "" where there is no /proc."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(process: int) -> str:
    """Returns when a process started, in ticks of the kernel's clock; "" if it has ended or there is no /proc."""
    try:
        # After the name, which may contain anything: the state, and 18 fields later the start.
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
