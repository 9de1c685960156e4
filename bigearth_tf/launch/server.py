"""HTTP server of the launcher, and the client by which a task uses it.

The server is Horovod's, at which the ranks find each other's addresses. Under a name that only the tasks of this launch
know, it also receives greetings and endings and returns orders. Each task asks for orders every few moments, which
shows that it is alive.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from bigearth_tf.distributed.rendezvous import get_text, put_text
from bigearth_tf.launch.messages import Ending, Greeting, Orders, TaskSettings
from bigearth_tf.runtime.running_clock import RunningClock

_POLL_S = 0.2
_ORDERS_TIMEOUT_S = 10.0
# Longest time from one tick of the launcher to the next, if it is not suspended.
_LONGEST_TICK_S = 1.0


class LaunchServer:
    """The launcher's side.

    Attributes:
        greetings: rank -> its greeting, in order of arrival.
        endings: rank -> its ending, in order of arrival.
        clock: Clock of the launcher, which ticks it.
        last_seen: rank -> when it last sent a request, by that clock.
        changed: Condition, held while these fields are read together, and notified when a message arrives.
    """

    def __init__(self) -> None:
        """Starts the server on a free port.

        Raises:
            RuntimeError: Horovod is not installed.
        """
        try:
            from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer, RendezvousServer
        except ImportError as error:
            raise RuntimeError("The launcher needs Horovod: `make setup` builds it (README, Requirements).") from error
        RendezvousHTTPServer.request_queue_size = 1024  # All ranks greet at the same moment.
        self.scope = secrets.token_hex(8)
        self.changed = threading.Condition()
        self.clock = RunningClock(_LONGEST_TICK_S)
        self.greetings: dict[int, Greeting] = {}
        self.endings: dict[int, Ending] = {}
        self.last_seen: dict[int, float] = {}
        self.orders = Orders()
        ours = self

        class Handler(RendezvousHandler):
            def _put_value(self, scope: str, key: str, value: bytes) -> None:
                if scope != ours.scope:
                    return super()._put_value(scope, key, value)
                kind, rank = key.split(".")
                return ours._put(kind, int(rank), value)

            def _get_value(self, scope: str, key: str) -> bytes | None:
                if scope != ours.scope:
                    return super()._get_value(scope, key)
                return ours._get_orders(int(key.split(".")[1]))

        self._server = RendezvousServer()
        self.port = self._server.start(Handler)

    def _put(self, kind: str, rank: int, value: bytes) -> None:
        with self.changed:
            if kind == "greeting":
                self.greetings.setdefault(rank, Greeting.from_json(value))
            else:
                self.endings.setdefault(rank, Ending.from_json(value))
            self.last_seen[rank] = self.clock.seconds
            self.changed.notify_all()

    def _get_orders(self, rank: int) -> bytes:
        with self.changed:
            self.last_seen[rank] = self.clock.seconds
            return self.orders.to_json().encode()

    def order(self, **orders: Any) -> None:
        """Changes fields of the orders; every task reads them the next time it asks."""
        with self.changed:
            self.orders = dataclasses.replace(self.orders, **orders)

    def announce_ranks(self, greetings: Mapping[int, Greeting]) -> None:
        """Gives Horovod's part of the server the number of ranks on each host."""
        from horovod.runner.common.util.hosts import SlotInfo

        self._server.init(
            [
                SlotInfo(
                    hostname=greeting.host,
                    rank=rank,
                    local_rank=greeting.place.local_rank,
                    cross_rank=0,  # Only sizes are read.
                    size=greeting.place.world_size,
                    local_size=greeting.place.local_size,
                    cross_size=sum(count > greeting.place.local_rank for count in greeting.place.tasks_per_node),
                )
                for rank, greeting in sorted(greetings.items())
            ]
        )

    def close(self) -> None:
        """Stops the server."""
        self._server.stop()


class LaunchClient:
    """A task's side. Each method raises OSError if the launcher cannot be reached."""

    def __init__(self, settings: TaskSettings, rank: int) -> None:
        """Takes the address of the server and the rank of this task."""
        self._url = f"http://{settings.address}:{settings.port}/{settings.scope}/"
        self._rank = rank

    def send_greeting(self, greeting: Greeting) -> None:
        """Reports the place of this task and whether it can start."""
        put_text(f"{self._url}greeting.{self._rank}", greeting.to_json())

    def send_ending(self, ending: Ending) -> None:
        """Reports how the process of this task ended."""
        put_text(f"{self._url}ending.{self._rank}", ending.to_json())

    def get_orders(self, timeout_s: float = _ORDERS_TIMEOUT_S) -> Orders:
        """Returns the current orders, and shows that this task is alive."""
        return Orders.from_json(get_text(f"{self._url}orders.{self._rank}", timeout_s))

    def wait_for_orders(self, condition: Callable[[Orders], bool]) -> Orders:
        """Returns the orders as soon as they meet a condition."""
        while True:
            orders = self.get_orders()
            if condition(orders):
                return orders
            time.sleep(_POLL_S)
