"""Work on many shards or patches, shared among processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from bigearth_tf.runtime import children

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# How often the calling process looks at what the others have done.
_POLL_S = 0.2
# In a worker process only: the function that this process calls for every item.
_function_of_worker: Callable[[Any], Any]


def _ignore_progress(count: int) -> None:
    del count


# Where `report_progress` goes in this process.
_report: Callable[[int], object] = _ignore_progress


def report_progress(count: int = 1) -> None:
    """Reports that this much of an item is done, to the `on_progress` of the `map_in_processes` that calls."""
    _report(count)


def map_in_processes(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    workers: int,
    chunk_size: int = 1,
    on_progress: Callable[[int], object] = _ignore_progress,
) -> Iterator[_Result]:
    """Yields `function(item)` of every item in order, computed by up to `workers` processes.

    The processes end with this one, however it ends. Ctrl+C reaches only this process.

    Args:
        function: Sent once to each process, with all arguments that `functools.partial` binds to it, however large.
        items: Sent to the processes as they are needed: they should be small.
        workers: With one, everything is done in this process.
        chunk_size: Number of items that a process takes at a time; more than one where an item takes milliseconds.
        on_progress: Called in this process, soon after the function calls `report_progress`, with the same numbers or
            sums of them.

    Raises:
        OSError: A process was killed.
    """
    workers = max(1, min(workers, -(-len(items) // chunk_size)))
    if workers == 1:
        yield from _map_here(function, items, on_progress)
        return
    # Spawned: the calling process may have threads, which do not survive a fork.
    context, earlier = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    done, seen = context.Value("q", 0), 0
    start = children.initializer(_start_worker)
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, start, (function, done))
    chunks = [items[first : first + chunk_size] for first in range(0, len(items), chunk_size)]
    try:
        # The processes inherit the mask: at Ctrl+C each would print a traceback.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = [pool.submit(_call_function, chunk) for chunk in chunks]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for result in results:
            is_done = False
            while not is_done:
                is_done = bool(concurrent.futures.wait([result], _POLL_S).done)
                now = done.value  # Read once: the processes go on.
                if now != seen:
                    on_progress(now - seen)
                    seen = now
            yield from result.result()
        _kill_workers(earlier)  # They have nothing left to do, and one that has loaded TensorFlow takes a while to end.
    except concurrent.futures.BrokenExecutor as error:
        raise OSError(
            "A process was killed, perhaps because memory ran out. Run the same command to resume, with fewer "
            "--workers if it happens again."
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        _kill_workers(earlier)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _kill_workers(earlier: Collection[multiprocessing.process.BaseProcess]) -> None:
    for process in set(multiprocessing.active_children()).difference(earlier):
        process.kill()


def _map_here(
    function: Callable[[_Item], _Result], items: Sequence[_Item], on_progress: Callable[[int], object]
) -> Iterator[_Result]:
    global _report  # noqa: PLW0603 - as in a worker
    before, _report = _report, on_progress
    try:
        yield from map(function, items)
    finally:
        _report = before


def _start_worker(function: Callable[[Any], Any], done: Any) -> None:
    global _function_of_worker, _report  # noqa: PLW0603  # A pool's initializer has no other way to keep its arguments.
    _function_of_worker = function

    def report(count: int) -> None:
        with done.get_lock():
            done.value += count

    _report = report


def _call_function(items: Sequence[Any]) -> list[Any]:
    return [_function_of_worker(item) for item in items]
