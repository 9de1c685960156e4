"""What if something fails on some ranks only? Every rank hears of it and ends with the same error: nobody waits.

Once Horovod is up its collectives tell the ranks of one another. Before that, `meet` does: it takes however long the
slowest rank takes, whereas Horovod's start gives up after HOROVOD_GLOO_TIMEOUT_SECONDS.
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
_ASK_EVERY_S = 0.5


def host_name() -> str:
    """Returns the name of this host, as SLURM knows it where there is SLURM."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def is_first() -> bool:
    """Whether this process is rank 0 or alone, as far as can be told before Horovod is up."""
    return os.environ.get("HOROVOD_RANK", "0") == "0"


def meet(message: str) -> list[str]:
    """Returns what all ranks say, in their order, without Horovod: by way of the server that its start needs, too.

    A process that is alone, or whose launcher offers no such server, as mpirun, hears itself alone.

    Raises:
        ConnectionError: The server cannot be reached.
    """
    environ, size = os.environ, int(os.environ.get("HOROVOD_SIZE", "1"))
    address, port = (environ.get(f"HOROVOD_GLOO_RENDEZVOUS_{name}") for name in ("ADDR", "PORT"))
    if size == 1 or not address:
        return [message]
    url, rank = f"http://{address}:{port}/{_SCOPE}", int(environ["HOROVOD_RANK"])
    try:
        request(f"{url}/{rank}", message)
        if rank == 0:
            request(f"{url}/all", json.dumps([_wait_for(f"{url}/{other}") for other in range(size)]))
        return json.loads(_wait_for(f"{url}/all"))
    except OSError as error:
        raise ConnectionError(f"rank {rank} cannot reach the launcher's server at {address}:{port}: {error}") from error


# A proxy for the outer world, which many clusters set, does not lead to the nodes.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(url: str, content: str | None = None) -> str:
    """Returns what is at an address, or puts a text there.

    Raises:
        OSError: The server cannot be reached, or has nothing there.
    """
    body = None if content is None else content.encode()
    method = "GET" if body is None else "PUT"
    with _opener.open(urllib.request.Request(url, body, method=method), timeout=_REQUEST_TIMEOUT_S) as answer:
        return answer.read().decode()


def _wait_for(url: str) -> str:
    """Returns what is at an address as soon as it is there; a rank that dies instead is the launcher's to notice."""
    while True:
        try:
            return request(url)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        time.sleep(_ASK_EVERY_S)
