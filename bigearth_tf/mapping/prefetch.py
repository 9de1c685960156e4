"""Computing the next items of an iterable in a thread, while the current one is in use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_END = object()


def prefetch(items: Iterable[_Item], ahead: int) -> Generator[_Item, None, None]:
    """Yields the items of an iterable in order; a thread computes up to `ahead` of them in advance.

    An exception of the iterable is raised where its item would have come. The thread ends with the generator.
    """
    ready: queue.Queue[Any] = queue.Queue()
    free, stopped = threading.Semaphore(ahead), threading.Event()

    def work() -> None:
        try:
            source = iter(items)
            while True:
                free.acquire()
                if stopped.is_set():
                    return
                item = next(source, _END)
                ready.put((item, None))
                if item is _END:
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by the reader of the queue
            ready.put((None, error))

    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            free.release()
            yield item
    finally:
        stopped.set()
        free.release()
