"""How do shards come to a disk of this host's own? Copied once for all of its ranks, checked, used, and removed.

The folder's name carries a digest of the data set. A shard appears in it under its own name only when it was read
whole and had the sha256 of the manifest, and the manifest appears last. Locks (flock) say who copies and who still
reads; they vanish with their process, however it ends, and what it leaves is gone on with.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import logging

from bigearth_tf.data.manifest import Manifest, Shard, manifest_digest, read_manifest, write_manifest
from bigearth_tf.distributed.consensus import run_on_all_ranks_before_horovod
from bigearth_tf.distributed.rendezvous import host_name, is_first_rank
from bigearth_tf.runtime.error_file import exit_stalled, write_stacks
from bigearth_tf.runtime.progress import progress_bar

_THREADS = 8
_BLOCK_BYTES = 1 << 22
_LOOK_EVERY_S = 0.5
# Where no byte comes for so long, the file system that the records are on hangs.
_SILENT_S = 300.0
# Of each file, for what it is checked by and for the rest of its last block.
_EXTRA_BYTES = 1 << 13
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def staged(
    data_dir: str | os.PathLike, stage_dir: str, splits: Collection[str], *, keep: bool = False
) -> Iterator[str]:
    """Gives the folder to read a data set from: a copy in `stage_dir` with the same manifest, or `data_dir` itself.

    To be entered before Horovod's start, which does not wait for as long as a copy may take: it is left for the body
    when all ranks have their data. Shards of other splits are links to those of `data_dir`.

    Args:
        data_dir: Folder of shards and manifest.
        stage_dir: Folder on this host's own disk, which may name variables of the environment; "" copies nothing.
        splits: What will be read.
        keep: Whether the copy stays for a later run; otherwise the last process of this host to leave removes it.

    Raises:
        FileNotFoundError: The data set has no manifest, or lacks a shard.
        ValueError: There is too little room, a shard is damaged, or the folder cannot be used.
        RanksDiffer: So it is on other hosts, not here.
    """
    if not stage_dir:
        yield os.fspath(data_dir)
        return
    with contextlib.ExitStack() as held:

        def stage() -> Path:
            manifest = read_manifest(data_dir)
            folder = _folder(stage_dir, manifest)
            held.enter_context(_in_use(folder, keep))
            _fill(folder, Path(data_dir).resolve(), manifest, splits)
            return folder

        yield os.fspath(run_on_all_ranks_before_horovod(stage))


def _folder(stage_dir: str, manifest: Manifest) -> Path:
    """Returns this user's folder for a data set; what it is in is made."""
    parent = os.path.expandvars(stage_dir)
    if missing := re.search(r"\$\w+|\$\{\w+\}", parent):
        raise ValueError(f"--stage_dir={stage_dir}: on {host_name()} there is no variable {missing.group()}.")
    Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(parent).absolute() / f"bigearth_tf-{os.getuid()}-{manifest_digest(manifest)[:16]}"


@contextlib.contextmanager
def _in_use(folder: Path, keep: bool) -> Iterator[None]:
    """Keeps the folder from being removed by others; at the end, the last one removes it."""
    path = folder.with_name(f"{folder.name}.lock")
    lock = _shared_lock(path)
    try:
        folder.mkdir(exist_ok=True)
        yield
    finally:
        if not keep and _locked(lock, fcntl.LOCK_EX):
            shutil.rmtree(folder, ignore_errors=True)
            path.unlink(missing_ok=True)
        os.close(lock)


def _shared_lock(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        while not _locked(lock, fcntl.LOCK_SH):  # It is being removed.
            time.sleep(_LOOK_EVERY_S)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)  # Removed in the meantime: a lock on a file that nobody else will find.


def _locked(lock: int, kind: int) -> bool:
    """Takes a lock if it is free."""
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


def _fill(folder: Path, source: Path, manifest: Manifest, splits: Collection[str]) -> None:
    """Makes the folder complete, or waits until another process of this host has."""
    wanted = [shard for shard in manifest.shards if shard.split in splits]
    total, title = sum(shard.num_bytes for shard in wanted), f"staging on {host_name()}"
    with (
        progress_bar(total, title, "B", unit_scale=True, disable=not is_first_rank(), leave=False) as bar,
        _only_copier(folder, bar),
    ):
        for leftover in folder.glob(".*.tmp"):  # Of a process that was killed.
            leftover.unlink()
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            whole = list(pool.map(lambda shard: _is_whole(folder / shard.name, shard), wanted))
        missing = [shard for shard, is_there in zip(wanted, whole) if not is_there]
        started = time.monotonic()
        if _bytes_of(missing) > shutil.disk_usage(folder).free:
            raise _no_room(folder, missing, source)
        try:
            _copy_all(folder, source, missing, bar)
            _link(folder, source, [shard for shard in manifest.shards if shard.split not in splits])
            write_manifest(manifest, folder)
        except OSError as error:
            if error.errno in _FULL:
                raise _no_room(folder, [s for s in missing if not _marker(folder / s.name).exists()], source) from error
            raise
    copied, seconds = sum(shard.num_bytes for shard in missing), time.monotonic() - started
    if missing:
        logging.info(
            "%s: copied %d shards, %.2f GB, to %s in %.1f s", title, len(missing), copied / 1e9, folder, seconds
        )
    elif is_first_rank():
        logging.info("%s: all %d shards are in %s", title, len(wanted), folder)


def _bytes_of(shards: Sequence[Shard]) -> int:
    """Returns the room that shards and the manifest take."""
    return sum(shard.num_bytes + _EXTRA_BYTES for shard in shards) + _EXTRA_BYTES


def _no_room(folder: Path, missing: Sequence[Shard], source: Path) -> ValueError:
    return ValueError(
        f"{folder.parent} on {host_name()} is too small to stage {source}: {_bytes_of(missing):,} bytes are needed, "
        f"{shutil.disk_usage(folder).free:,} are free. Ask for more scratch, name another --stage_dir, or leave it "
        "out: records are then read where they are."
    )


@contextlib.contextmanager
def _only_copier(folder: Path, bar: Any) -> Iterator[None]:
    """Waits until no other process copies; meanwhile the bar shows how far that one is."""
    lock = os.open(folder / ".copying", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _locked(lock, fcntl.LOCK_EX):
            _show(bar, folder)
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(lock)


def _show(bar: Any, folder: Path) -> int:
    """Moves the bar to what the folder holds, whoever has put it there; returns so many bytes."""
    found = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # Renamed since.
            found += path.lstat().st_size
    bar.update(min(found, bar.total) - bar.n)
    return found


def _marker(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _state(path: Path, shard: Shard) -> str:
    """Returns what a checked file is known by; after a crash of the host, what was not written yet may be lost."""
    status, boot = path.lstat(), _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
    return f"{shard.sha256} {status.st_size} {status.st_mtime_ns} {boot}"


def _is_whole(path: Path, shard: Shard) -> bool:
    """Whether a shard is there: it was checked and is as it was since, or is checked now."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != shard.num_bytes:
        return False
    state, marker = _state(path, shard), _marker(path)
    if marker.exists() and marker.read_text() == state:
        return True
    is_whole = _read(path, lambda _: None) == shard.sha256
    if is_whole:
        marker.write_text(state)
    return is_whole


def _read(path: Path, take: Callable[[bytes], object]) -> str:
    """Returns the sha256 of a file, each block of which is taken."""
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
            take(block)
    return hashed.hexdigest()


def _copy_all(folder: Path, source: Path, shards: Sequence[Shard], bar: Any) -> None:
    """Copies shards in parallel; where one cannot be, the others are given up, and where nothing comes, the process."""
    given_up = threading.Event()
    seen, came_at = 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        copies = {pool.submit(_copy, source / shard.name, folder / shard.name, shard, given_up) for shard in shards}
        try:
            while copies:
                done, copies = concurrent.futures.wait(copies, _LOOK_EVERY_S, concurrent.futures.FIRST_EXCEPTION)
                for copy in done:
                    copy.result()
                before, seen = seen, _show(bar, folder)
                came_at = time.monotonic() if seen != before else came_at
                if time.monotonic() - came_at > _SILENT_S:
                    _end_silent(folder, source)
        except BaseException:
            given_up.set()
            pool.shutdown(cancel_futures=True)
            raise


def _end_silent(folder: Path, source: Path) -> NoReturn:
    reading = ", ".join(sorted(path.name[1:-4] for path in folder.glob(".*.tmp")))
    message = f"staging on {host_name()}: no byte came from {source} within {_SILENT_S:g} s; reading {reading}"
    write_stacks(message)
    exit_stalled(f"{message}. Does its file system answer?")


def _copy(source: Path, path: Path, shard: Shard, given_up: threading.Event) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:

            def take(block: bytes) -> None:
                if given_up.is_set():
                    raise concurrent.futures.CancelledError
                file.write(block)

            sha256 = _read(source, take)
        if sha256 != shard.sha256:
            raise ValueError(
                f"{source}: its content is not what the manifest says (sha256). Run `python -m tfrecord_tools.verify`, "
                "and convert again what it names."
            )
        temporary.replace(path)
        _marker(path).write_text(_state(path, shard))
    finally:
        temporary.unlink(missing_ok=True)


def _link(folder: Path, source: Path, shards: Sequence[Shard]) -> None:
    """Links shards that will not be read, so that the folder fits its manifest."""
    for shard in shards:
        path, temporary = folder / shard.name, folder / f".{shard.name}.tmp"
        if path.is_symlink() or not path.exists():
            temporary.symlink_to(source / shard.name)
            temporary.replace(path)
