"""Parallel copies of shards, each checked by its SHA-256.

A shard gets its final name in the folder only after it was read completely and matched the SHA-256 of the manifest. A
marker file next to the shard then saves later processes the check.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bigearth_tf.data.manifest import RECONVERT, Shard
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.rendezvous import host_name
from bigearth_tf.runtime.error_file import exit_stalled, write_stacks
from bigearth_tf.runtime.files import file_sha256
from bigearth_tf.runtime.running_clock import RunningClock

_THREADS = 8
_BLOCK_BYTES = 1 << 22
_POLL_S = 0.5
# If no byte arrives for this long, the file system of the records does not respond.
_STALL_TIMEOUT_S = 300.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def find_missing(folder: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Returns the shards of which a folder has no complete copy."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        whole = list(pool.map(lambda shard: _is_whole(folder / shard.name, shard), shards))
    return [shard for shard, is_whole in zip(shards, whole) if not is_whole]


def has_marker(path: Path) -> bool:
    """Returns whether the copy of a shard was checked."""
    return _marker(path).exists()


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished copies of a process that was killed."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()


def copy_shards(dataset: ShardedDataset, folder: Path, shards: Sequence[Shard], bar: Any) -> None:
    """Copies shards of a data set in parallel; if one copy fails, cancels the others.

    If no byte arrives for `_STALL_TIMEOUT_S`, the process exits with EXIT_STALLED.

    Args:
        dataset: Where the shards are.
        folder: Where the copies go.
        shards: What to copy.
        bar: Progress bar of bytes, which shows what the folder contains.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: A shard does not have the SHA-256 of the manifest.
        OSError: A shard cannot be read or written.
    """
    cancelled = threading.Event()
    clock = RunningClock(2 * _POLL_S)
    seen, came_s = 0, 0.0
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        copies = {
            pool.submit(_copy, dataset.shard_path(shard), folder / shard.name, shard, cancelled) for shard in shards
        }
        try:
            while copies:
                done, copies = concurrent.futures.wait(copies, _POLL_S, concurrent.futures.FIRST_EXCEPTION)
                for copy in done:
                    copy.result()
                before, seen = seen, show_progress(bar, folder)
                now_s = clock.tick()
                came_s = now_s if seen != before else came_s
                if now_s - came_s > _STALL_TIMEOUT_S:
                    _exit_stalled(folder, dataset.folder)
        except BaseException:
            cancelled.set()
            pool.shutdown(cancel_futures=True)
            raise


def link_shards(dataset: ShardedDataset, folder: Path, shards: Sequence[Shard]) -> None:
    """Links to shards of a data set that will not be read, so that the folder matches its manifest."""
    for shard in shards:
        path, temporary = folder / shard.name, folder / f".{shard.name}.tmp"
        if path.is_symlink() or not path.exists():
            temporary.symlink_to(dataset.shard_path(shard))
            temporary.replace(path)


def show_progress(bar: Any, folder: Path) -> int:
    """Moves a bar to the bytes that a folder contains, whichever process wrote them; returns these bytes."""
    found = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # Renamed in the meantime.
            found += path.lstat().st_size
    bar.update(min(found, bar.total) - bar.n)
    return found


def _marker(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _state(path: Path, shard: Shard) -> str:
    """Returns what identifies a checked file and this boot: a crash of the host may lose what was not on disk yet."""
    status, boot = path.lstat(), _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
    return f"{shard.sha256} {status.st_size} {status.st_mtime_ns} {boot}"


def _is_whole(path: Path, shard: Shard) -> bool:
    """Returns whether a shard was checked and has not changed since, or passes the check now."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != shard.num_bytes:
        return False
    state, marker = _state(path, shard), _marker(path)
    if marker.exists() and marker.read_text() == state:
        return True
    is_whole = file_sha256(path) == shard.sha256
    if is_whole:
        marker.write_text(state)
    return is_whole


def _exit_stalled(folder: Path, source: Path) -> NoReturn:
    reading = ", ".join(sorted(path.name[1:-4] for path in folder.glob(".*.tmp")))
    message = f"staging on {host_name()}: no byte came from {source} within {_STALL_TIMEOUT_S:g} s; reading {reading}"
    write_stacks(message)
    exit_stalled(f"{message}. Check whether its file system answers: `ls {source}`.")


def _copy(source: Path, path: Path, shard: Shard, cancelled: threading.Event) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    hashed = hashlib.sha256()
    try:
        with temporary.open("wb") as copy, source.open("rb", buffering=0) as original:
            while block := original.read(_BLOCK_BYTES):
                if cancelled.is_set():
                    raise concurrent.futures.CancelledError
                hashed.update(block)
                copy.write(block)
        if hashed.hexdigest() != shard.sha256:
            raise ValueError(f"{source}: its content does not match the SHA-256 of the manifest. {RECONVERT}")
        temporary.replace(path)
        _marker(path).write_text(_state(path, shard))
    finally:
        temporary.unlink(missing_ok=True)
