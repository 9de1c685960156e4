"""How is work on many shards or patches shared among processes?"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_processes(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    workers: int,
    prepare: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
    chunk_size: int = 1,
) -> Iterator[_Result]:
    """Yields `function(item)` of every item in order, worked out by up to `workers` processes.

    Args:
        function: To be called; it is sent to the processes.
        items: Its arguments.
        workers: With one, everything is done in this process.
        prepare: Called once in each process before its first item, with `arguments`: what is large is sent only once.
        arguments: Of `prepare`.
        chunk_size: Items that a process takes at a time; more where one takes milliseconds.

    Raises:
        OSError: A process was killed.
    """
    workers = max(1, min(workers, len(items)))
    if workers == 1:
        if prepare:
            prepare(*arguments)
        yield from map(function, items)
        return
    # Spawned: a caller may hold threads that no fork survives.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, prepare, arguments)
    try:
        yield from pool.map(function, items, chunksize=chunk_size)
    except concurrent.futures.BrokenExecutor as error:
        raise OSError(
            "A process was killed, perhaps for want of memory. Run the same command to go on, with fewer --workers if "
            "it happens again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
