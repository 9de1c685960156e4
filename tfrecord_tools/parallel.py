"""Work on many shards or patches, shared among processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# In a worker process only: the function that this process calls for every item.
_function_of_worker: Callable[[Any], Any]


def map_in_processes(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, chunk_size: int = 1
) -> Iterator[_Result]:
    """Yields `function(item)` of every item in order, computed by up to `workers` processes.

    Args:
        function: Sent once to each process, with all arguments that `functools.partial` binds to it, however large.
        items: Sent to the processes as they are needed: they should be small.
        workers: With one, everything is done in this process.
        chunk_size: Number of items that a process takes at a time; more than one where an item takes milliseconds.

    Raises:
        OSError: A process was killed.
    """
    workers = max(1, min(workers, len(items)))
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned: the calling process may have threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _set_function, (function,))
    try:
        yield from pool.map(_call_function, items, chunksize=chunk_size)
    except concurrent.futures.BrokenExecutor as error:
        raise OSError(
            "A process was killed, perhaps because memory ran out. Run the same command to resume, with fewer "
            "--workers if it happens again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _set_function(function: Callable[[Any], Any]) -> None:
    global _function_of_worker  # noqa: PLW0603  # A pool's initializer has no other way to keep what it is given.
    _function_of_worker = function


def _call_function(item: Any) -> Any:
    return _function_of_worker(item)
