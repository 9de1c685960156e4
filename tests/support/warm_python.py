"""Python processes that start in milliseconds, as forks of an interpreter that has loaded TensorFlow.

Each is a separate process with its own environment, arguments and streams, which a test may kill or freeze. It ends
with the process that started it, however that ends. A new interpreter needs 4 to 5 seconds to load TensorFlow.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.paths import REPOSITORY

HEADER_BYTES = 8
MODULES = (
    "tensorflow",
    "keras",
    "bigearth_tf.training.train",
    "bigearth_tf.evaluation.report",
    "bigearth_tf.distributed.preflight",
    "bigearth_tf.input.staging",
    "ml_collections.config_flags",
    "horovod.tensorflow",
    "sklearn.metrics",
    "pyarrow.parquet",
    "pandas",
    "matplotlib.pyplot",
    "osgeo.gdal",
)  # fmt: skip
# Modules that every command loads before it prints --help.
LIGHT_MODULES = ("absl.app", "absl.flags", "absl.logging", "ml_collections.config_flags")
_PR_SET_CHILD_SUBREAPER = 36


@functools.cache
def _server(modules: tuple[str, ...]) -> tuple[socket.socket, subprocess.Popen]:
    """Starts a server that loads the modules, once; returns the connection to it, and its process."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, str(Path(__file__).with_name("warm_server.py")), str(theirs.fileno()), *modules]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(
        command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    theirs.close()
    return ours, process


class WarmPopen(subprocess.Popen):
    """A `Popen` whose process the server forks; the whole interface works, since the process becomes our child."""

    def __init__(self, args: Sequence[str], modules: tuple[str, ...] = MODULES, **options: Any) -> None:
        """Takes the modules that the interpreter has loaded, and the arguments of `Popen`."""
        self.modules = modules
        super().__init__(args, **options)

    def _execute_child(self, args: Any, *options: Any) -> None:
        _, _, _, _, cwd, env, _, _, _, stdin, to_stdin, from_stdout, stdout, from_stderr, stderr, *more = options
        _, kind, code, *arguments = map(str, args)
        assert kind in ("-c", "-m"), kind
        request = {
            "kind": kind,
            "code": code,
            "arguments": arguments,
            "environment": dict(os.environ if env is None else env),
            "cwd": str(cwd or os.getcwd()),
            "start_new_session": more[5],
            "parent": os.getpid(),
        }
        content = json.dumps(request).encode()
        streams = [number if given == -1 else given for number, given in enumerate((stdin, stdout, stderr))]
        (connection, _), prctl = _server(self.modules), ctypes.CDLL(None, use_errno=True).prctl
        # Only for this moment: otherwise all processes that lose their parent would become our children.
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(connection, [len(content).to_bytes(HEADER_BYTES, "big")], streams)
            connection.sendall(content)
            answer = b""
            while len(answer) < HEADER_BYTES + 1:
                received = connection.recv(HEADER_BYTES + 1 - len(answer))
                assert received, "the server of warm interpreters has ended"
                answer += received
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        self.pid = int.from_bytes(answer[:HEADER_BYTES], "big")
        self._child_created = True
        self._close_pipe_fds(stdin, to_stdin, from_stdout, stdout, from_stderr, stderr)


def start(arguments: Sequence[Any], **options: Any) -> subprocess.Popen:
    """Starts `python ARGUMENTS`, where they begin with -c and a script or -m and a module; options as for `Popen`.

    `modules` are those that the interpreter has loaded before; default: MODULES.
    """
    return WarmPopen([sys.executable, *map(str, arguments)], **options)


def run(arguments: Sequence[Any], timeout: float = 500, check: bool = False, **options: Any) -> Any:
    """Runs `python ARGUMENTS` to its end, as `start` does, and captures both of its streams as text."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with start(arguments, **{**pipes, **options}) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    result = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
    if check:
        result.check_returncode()
    return result
