"""Server that has loaded TensorFlow and forks an interpreter for each request of `warm_python`, which starts it.

Usage: python warm_server.py SOCKET MODULE...
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import random
import runpy
import signal
import socket
import sys
import time
import types

HEADER_BYTES = 8
_PR_SET_PDEATHSIG = 1


def read_request(connection: socket.socket) -> tuple[dict, list[int]]:
    """Returns the next request and the standard streams of its process; ends the server if the connection is closed."""
    header, streams, _, _ = socket.recv_fds(connection, HEADER_BYTES, 3)
    if not header:
        os._exit(0)
    size, content = int.from_bytes(header, "big"), b""
    while len(content) < size:
        content += connection.recv(size - len(content))
    return json.loads(content), streams


def serve(connection: socket.socket) -> dict:
    """Responds to each request with the id of a new process; returns the request in that process."""
    while True:
        request, streams = read_request(connection)
        middle = os.fork()
        if not middle:
            # The new process is forked twice: without a living parent it becomes a child of the process that asked.
            end, its_end = os.pipe()
            request["middle"] = os.getpid()
            process = os.fork()
            if process:
                os.write(its_end, process.to_bytes(HEADER_BYTES, "big"))
                connection.sendall(process.to_bytes(HEADER_BYTES, "big"))
                os._exit(0)
            os.read(end, HEADER_BYTES)
            os.close(end)
            os.close(its_end)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            for stream in streams:
                os.close(stream)
            connection.close()
            return request
        os.waitpid(middle, 0)
        connection.sendall(b"+")
        for stream in streams:
            os.close(stream)


def attach_to_parent(middle: int, parent: int) -> None:
    """Makes the kernel kill this process when the one that asked for it ends, which is its parent after `middle`."""
    while os.getppid() == middle:
        time.sleep(0.0002)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def become(request: dict, installed: list[str]) -> None:
    """Sets this process up like an interpreter that was started with the environment and arguments of the request."""
    attach_to_parent(request["middle"], request["parent"])
    if request["start_new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    own = [path for path in request["environment"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [request["cwd"] if request["kind"] == "-m" else "", *own, *installed]
    importlib.invalidate_caches()
    # A new interpreter gets its seeds from the system; forks would all have the same seeds.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    sys.argv = [request["kind"], *request["arguments"]]


def main() -> None:
    """Loads the modules, serves, and in each forked process runs the requested code."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        # A package that is not installed is left out; a module of ours that is missing is an error.
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    own = {os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path}
    installed = [path for path in sys.path[1:] if os.path.abspath(path) not in own]
    gc.collect()
    gc.freeze()
    request = serve(connection)
    become(request, installed)
    if request["kind"] == "-m":
        runpy.run_module(request["code"], run_name="__main__", alter_sys=True)
    else:
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        exec(compile(request["code"], "<string>", "exec"), module.__dict__)


main()
