"""A copy of a data set on this host's own disk, shared by all of its ranks.

The folder's name contains a digest of the data set. The manifest appears in it last, after the shards. If a process is
killed, the next process completes the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from absl import logging

from bigearth_tf.data.manifest import Shard, read_manifest, write_manifest
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.consensus import run_on_all_ranks_before_horovod
from bigearth_tf.distributed.rendezvous import host_name, is_first_rank
from bigearth_tf.input import folder_locks, shard_copies
from bigearth_tf.runtime.progress import progress_bar

# Disk space for each file in addition to its content: its marker, and the unused rest of its last block.
_EXTRA_BYTES = 1 << 13
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def stage_dataset(
    data_dir: str | os.PathLike, stage_dir: str, splits: Collection[str], *, keep: bool = False
) -> Iterator[str]:
    """Yields the folder to read a data set from: a copy in `stage_dir` with the same manifest, or `data_dir` itself.

    Enter this context before Horovod starts: Horovod does not wait as long as a copy may take. The body runs when all
    ranks have their data. Shards of other splits are links to those of `data_dir`.

    Args:
        data_dir: Folder of shards and manifest.
        stage_dir: Folder on this host's own disk, which may name environment variables; "" copies nothing.
        splits: Splits that will be read.
        keep: Whether the copy stays for a later run; otherwise the last process of this host to leave removes it.

    Raises:
        FileNotFoundError: The data set has no manifest, or a shard is missing.
        ValueError: The disk is too small, a shard is damaged, or the folder cannot be used.
        RanksDiffer: One of these happened on other hosts, not here.
    """
    if not stage_dir:
        yield os.fspath(data_dir)
        return
    with contextlib.ExitStack() as held:

        def stage() -> Path:
            dataset = ShardedDataset(Path(data_dir).resolve(), read_manifest(data_dir))
            folder = stage_folder(stage_dir, dataset)
            held.enter_context(folder_locks.hold_folder(folder, keep))
            _complete(folder, dataset, splits)
            return folder

        yield os.fspath(run_on_all_ranks_before_horovod(stage))


def stage_folder(stage_dir: str, dataset: ShardedDataset) -> Path:
    """Returns this user's folder for a data set after creating its parent folder.

    Raises:
        ValueError: `stage_dir` names an environment variable that does not exist on this host.
    """
    parent = os.path.expandvars(stage_dir)
    if missing := re.search(r"\$\w+|\$\{\w+\}", parent):
        raise ValueError(f"--stage_dir={stage_dir}: on {host_name()} there is no variable {missing.group()}.")
    Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(parent).absolute() / f"bigearth_tf-{os.getuid()}-{dataset.digest()[:16]}"


def _complete(folder: Path, dataset: ShardedDataset, splits: Collection[str]) -> None:
    """Completes the folder, or waits until another process of this host has done so."""
    wanted = [shard for shard in dataset.shards() if shard.split in splits]
    others = [shard for shard in dataset.shards() if shard.split not in splits]
    total, title = sum(shard.num_bytes for shard in wanted), f"staging on {host_name()}"
    with (
        progress_bar(total, title, "B", unit_scale=True, disable=not is_first_rank(), leave=False) as bar,
        folder_locks.lock_for_copying(folder, lambda: shard_copies.show_progress(bar, folder)),
    ):
        shard_copies.remove_leftovers(folder)
        missing = shard_copies.find_missing(folder, wanted)
        started = time.monotonic()
        if _needed_bytes(missing) > shutil.disk_usage(folder).free:
            raise _too_small(folder, missing, dataset)
        try:
            shard_copies.copy_shards(dataset, folder, missing, bar)
            shard_copies.link_shards(dataset, folder, others)
            write_manifest(dataset.manifest, folder)
        except OSError as error:
            if error.errno in _DISK_FULL:
                left = [shard for shard in missing if not shard_copies.has_marker(folder / shard.name)]
                raise _too_small(folder, left, dataset) from error
            raise
    copied, seconds = sum(shard.num_bytes for shard in missing), time.monotonic() - started
    if missing:
        logging.info(
            "%s: copied %d shards, %.2f GB, to %s in %.1f s", title, len(missing), copied / 1e9, folder, seconds
        )
    elif is_first_rank():
        logging.info("%s: all %d shards are in %s", title, len(wanted), folder)


def _needed_bytes(shards: Sequence[Shard]) -> int:
    """Returns the disk space that shards and the manifest need."""
    return sum(shard.num_bytes + _EXTRA_BYTES for shard in shards) + _EXTRA_BYTES


def _too_small(folder: Path, missing: Sequence[Shard], dataset: ShardedDataset) -> ValueError:
    return ValueError(
        f"{folder.parent} on {host_name()} is too small to stage {dataset.folder}: {_needed_bytes(missing):,} bytes "
        f"are needed, {shutil.disk_usage(folder).free:,} are free. Ask for more scratch, name another --stage_dir, or "
        "leave it out: records are then read where they are."
    )
