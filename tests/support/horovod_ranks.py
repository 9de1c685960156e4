"""Real Horovod processes on this machine, as warm interpreters or by horovodrun."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigearth_tf.launch.layout import make_horovod_variables, make_place_on_this_host
from bigearth_tf.runtime.children import attach_to_parent
from tests.support import warm_python
from tests.support.paths import REPOSITORY

# Limits that end a test that hangs; no test waits for them.
_LIMIT_S, _OTHERS_LIMIT_S = 500, 100


@dataclasses.dataclass(frozen=True)
class Ended:
    """Exit codes of the ranks, in their order, and the output of all."""

    codes: list[int]
    output: str

    @property
    def returncode(self) -> int:
        """The exit code of the first rank that failed; 0 if none failed."""
        return next((code for code in self.codes if code), 0)


class Ranks:
    """Ranks that are running. In arguments and in values of `environment`, $HOROVOD_RANK stands for the rank."""

    def __init__(self, ranks: int, arguments: Sequence[Any], **environment: str) -> None:
        """Starts `python ARGUMENTS` on each rank without a GPU; see `warm_python.start`."""
        from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
        from horovod.runner.http.http_server import RendezvousServer

        self._server = RendezvousServer()
        self._logs = [tempfile.TemporaryFile("w+b") for _ in range(ranks)]  # noqa: SIM115 - as long as this object
        port = self._server.start()
        self._server.init(get_host_assignments(parse_hosts(f"localhost:{ranks}"), ranks))
        self._processes = []
        for rank in range(ranks):
            values = {
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "CUDA_VISIBLE_DEVICES": "",
                **make_horovod_variables(make_place_on_this_host(rank, ranks), "localhost", "lo"),
                "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
                "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
                **environment,
            }
            filled = {name: value.replace("$HOROVOD_RANK", str(rank)) for name, value in values.items()}
            own = [str(argument).replace("$HOROVOD_RANK", str(rank)) for argument in arguments]
            self._processes.append(
                warm_python.start(own, cwd=REPOSITORY, env=filled, stdout=self._logs[rank], stderr=subprocess.STDOUT)
            )

    def poll(self) -> int | None:
        """Returns the exit code of a failed rank, 0 after all have succeeded, and None otherwise."""
        codes = [process.poll() for process in self._processes]
        return next((code for code in codes if code), None if None in codes else 0)

    def output(self, rank: int | None = None) -> str:
        """Returns the output of one rank, or of all ranks, so far."""
        # Read by position: the ranks share the file's current position.
        logs = self._logs if rank is None else [self._logs[rank]]
        contents = [os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0) for log in logs]
        return b"\n".join(contents).decode(errors="replace")

    def wait(self) -> Ended:
        """Waits until all ranks have ended; a frozen rank is killed after another has failed."""
        end = time.monotonic() + _LIMIT_S
        while any(process.poll() is None for process in self._processes) and time.monotonic() < end:
            if self.poll():
                end = min(end, time.monotonic() + _OTHERS_LIMIT_S)
                for process in self._processes:
                    if process.poll() is None and _is_stopped(process.pid):
                        process.kill()
            time.sleep(0.05)
        running = [rank for rank, process in enumerate(self._processes) if process.poll() is None]
        for process in self._processes:
            process.kill()
        codes = [process.wait() for process in self._processes]
        self._server.stop()
        assert not running, f"ranks {running} did not end by themselves:\n{self.output()[-5000:]}"
        return Ended(codes, self.output())


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def run_on_ranks(ranks: int, script: str, *arguments: Any) -> Ended:
    """Runs a script on N ranks to its end."""
    return Ranks(ranks, ["-c", script, *arguments]).wait()


def run_by_horovodrun(ranks: int, script: str, *arguments: Any) -> Ended:
    """Runs a script on N ranks to its end, in new interpreters that horovodrun starts and watches."""
    horovodrun = Path(sys.executable).with_name("horovodrun")
    command = [horovodrun, "-np", ranks, "--gloo", sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        preexec_fn=functools.partial(attach_to_parent, os.getpid(), signal.SIGTERM),
    )  # fmt: skip
    return Ended([result.returncode], result.stdout + result.stderr)
