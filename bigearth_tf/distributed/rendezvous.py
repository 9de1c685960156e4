"""The host of a rank, and messages between ranks before Horovod starts; without Horovod and TensorFlow.

Once Horovod runs, the ranks use its collectives. Before that, they use `exchange_messages`, which waits for the slowest
rank without a limit, whereas Horovod's start gives up after HOROVOD_GLOO_TIMEOUT_SECONDS.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request

_SCOPE = "bigearth_meeting"
_REQUEST_TIMEOUT_S = 10.0
_POLL_S = 0.5


def host_name() -> str:
    """Returns the name of this host, in a SLURM job the node name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def is_first_rank() -> bool:
    """Returns whether this process is rank 0, or the only one, according to the launcher's variables."""
    return os.environ.get("HOROVOD_RANK", "0") == "0"


def exchange_messages(message: str) -> list[str]:
    """Returns the messages of all ranks, in the order of ranks, through the server that Horovod's start uses.

    Returns only `message` if this process is the only one, or its launcher has no such server (mpirun).

    Raises:
        ConnectionError: The server cannot be reached.
    """
    environ, size = os.environ, int(os.environ.get("HOROVOD_SIZE", "1"))
    address, port = (environ.get(f"HOROVOD_GLOO_RENDEZVOUS_{name}") for name in ("ADDR", "PORT"))
    if size == 1 or not address:
        return [message]
    url, rank = f"http://{address}:{port}/{_SCOPE}", int(environ["HOROVOD_RANK"])
    try:
        put_text(f"{url}/{rank}", message)
        if rank == 0:
            put_text(f"{url}/all", json.dumps([_wait_for(f"{url}/{other}") for other in range(size)]))
        return json.loads(_wait_for(f"{url}/all"))
    except OSError as error:
        raise ConnectionError(f"rank {rank} cannot reach the launcher's server at {address}:{port}: {error}") from error


# Many clusters set a proxy for the internet; the proxy cannot reach the nodes.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def put_text(url: str, text: str) -> None:
    """Puts a text at a URL.

    Raises:
        OSError: The server cannot be reached.
    """
    _send(urllib.request.Request(url, text.encode(), method="PUT"))


def get_text(url: str, timeout_s: float = _REQUEST_TIMEOUT_S) -> str:
    """Returns the text at a URL.

    Raises:
        OSError: The server cannot be reached, or has nothing there.
    """
    return _send(urllib.request.Request(url), timeout_s)


def _send(request: urllib.request.Request, timeout_s: float = _REQUEST_TIMEOUT_S) -> str:
    with _opener.open(request, timeout=timeout_s) as response:
        return response.read().decode()


def _wait_for(url: str) -> str:
    """Returns the text at a URL as soon as there is one; the launcher ends the wait if the other rank dies."""
    while True:
        try:
            return get_text(url)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        time.sleep(_POLL_S)
