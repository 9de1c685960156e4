"""Where do the ranks find one another, and the launcher hear of them? One HTTP server for Horovod's addresses and ours.

Of ours: a task greets (where it is), asks for orders every few seconds (which also shows that it lives), and says how
its process ended. All of it is under a name that only the tasks of this launch were told.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from typing import Any

from bigearth_tf.distributed.rendezvous import send_request
from bigearth_tf.launch.layout import Place


class Rendezvous:
    """The launcher's side. `greetings` and `endings` hold what ranks said, in order of arrival; `heard` when last."""

    def __init__(self) -> None:
        """Starts the server on a free port.

        Raises:
            RuntimeError: Horovod is not installed.
        """
        try:
            from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer, RendezvousServer
        except ImportError as error:
            raise RuntimeError("The launcher needs Horovod: `make setup` builds it (README, Set-up).") from error
        RendezvousHTTPServer.request_queue_size = 1024  # All ranks greet at the same moment.
        self.scope = secrets.token_hex(8)
        self.changed = threading.Condition()
        self.greetings: dict[int, dict[str, Any]] = {}
        self.heard: dict[int, float] = {}
        self.endings: dict[int, dict[str, Any]] = {}
        self.orders: dict[str, Any] = {}
        ours = self

        class Handler(RendezvousHandler):
            def _put_value(self, scope: str, key: str, value: bytes) -> None:
                if scope != ours.scope:
                    return super()._put_value(scope, key, value)
                kind, rank = key.split(".")
                return ours._put(kind, int(rank), json.loads(value))

            def _get_value(self, scope: str, key: str) -> bytes | None:
                if scope != ours.scope:
                    return super()._get_value(scope, key)
                return ours._get_orders(int(key.split(".")[1]))

        self._server = RendezvousServer()
        self.port = self._server.start(Handler)

    def _put(self, kind: str, rank: int, value: dict[str, Any]) -> None:
        with self.changed:
            {"greeting": self.greetings, "ending": self.endings}[kind].setdefault(rank, value)
            self.heard[rank] = time.monotonic()
            self.changed.notify_all()

    def _get_orders(self, rank: int) -> bytes:
        with self.changed:
            self.heard[rank] = time.monotonic()
            return json.dumps(self.orders).encode()

    def order(self, **orders: Any) -> None:
        """Gives orders, which every task reads the next time it asks."""
        with self.changed:
            self.orders.update(orders)

    def plan(self, places: dict[int, Place], hosts: dict[int, str]) -> None:
        """Tells Horovod's part how many ranks there are on each host."""
        from horovod.runner.common.util.hosts import SlotInfo

        self._server.init(
            [
                SlotInfo(
                    hostname=hosts[rank],
                    rank=rank,
                    local_rank=place.local_rank,
                    cross_rank=0,  # Only sizes are read.
                    size=place.world_size,
                    local_size=place.local_size,
                    cross_size=sum(count > place.local_rank for count in place.tasks_per_node),
                )
                for rank, place in sorted(places.items())
            ]
        )

    def close(self) -> None:
        """Ends the server."""
        self._server.stop()


class Launcher:
    """A task's side: how to speak to the launcher."""

    def __init__(self, address: str, port: str, scope: str, rank: int) -> None:
        """Nothing is sent yet."""
        self._url = f"http://{address}:{port}/{scope}/"
        self._rank = rank

    def put(self, kind: str, value: dict[str, Any]) -> None:
        """Says something.

        Raises:
            OSError: The launcher cannot be reached.
        """
        send_request(f"{self._url}{kind}.{self._rank}", json.dumps(value))

    def orders(self) -> dict[str, Any]:
        """Returns the orders that hold, and shows that this rank lives.

        Raises:
            OSError: The launcher cannot be reached.
        """
        return json.loads(send_request(f"{self._url}orders.{self._rank}"))
