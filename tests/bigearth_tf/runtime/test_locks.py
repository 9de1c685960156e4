"""Locks: held by one process or shared, free when their process ends, also on a file system without flock."""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from bigearth_tf.runtime import locks
from bigearth_tf.runtime.locks import LockHeld, hold_lock
from tests.support import warm_python
from tests.support.paths import REPOSITORY

HOLD = """
import fcntl, os, sys
from pathlib import Path
folder, shared, missing = sys.argv[1:]
if missing != "0":
    def flock(*_):
        raise OSError(int(missing), os.strerror(int(missing)))
    fcntl.flock = flock
from bigearth_tf.runtime import locks
locks._TOUCH_S = 0.01
with locks.hold_lock(Path(folder) / ".lock", folder, shared=shared == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""
# 0 is a file system with flock.
FILE_SYSTEMS = [0, errno.ENOSYS, errno.ENOLCK]


def remove_flock(monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture(params=FILE_SYSTEMS, ids=lambda number: errno.errorcode.get(number, "flock"))
def file_system(request, monkeypatch):
    """Returns the error number of flock on a file system without it, 0 for one with it."""
    if request.param:
        remove_flock(monkeypatch, request.param)
    return request.param


@contextlib.contextmanager
def held(folder, file_system=0, kind="alone"):
    """Yields another process that holds the lock of a folder until its input ends."""
    process = warm_python.start(
        ["-c", HOLD, folder, kind, file_system],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, modules=warm_python.LIGHT_MODULES,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def take(folder, **options):
    with hold_lock(folder / ".lock", folder, **options):
        pass


def test_a_held_lock_names_its_holder_and_ends_with_it(tmp_path, file_system):
    with held(tmp_path, file_system) as process:
        named = (
            rf"{tmp_path}: in use by process {process.pid} on {re.escape(socket.gethostname())} since "
            r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC. Wait for it, or end it"
        )
        for shared in (False, True):
            with pytest.raises(LockHeld, match=named):
                take(tmp_path, shared=shared)
        process.send_signal(signal.SIGKILL)
        process.wait()
        take(tmp_path)
    assert not list(tmp_path.iterdir())


def test_processes_share_a_lock_and_exclude_one_that_does_not(tmp_path, file_system):
    with held(tmp_path, file_system, "shared") as process:
        take(tmp_path, shared=True)
        with pytest.raises(LockHeld, match=f"process {process.pid} on"):
            take(tmp_path)
    take(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_process_waits_for_its_turn(tmp_path, file_system):
    with held(tmp_path, file_system) as process:
        calls = []

        def release():
            calls.append(process.poll())
            process.stdin.close()
            process.wait()

        take(tmp_path, while_waiting=release)
        assert calls == [None]


def test_a_lock_is_held_also_against_this_process(tmp_path, file_system):
    with (
        hold_lock(tmp_path / ".lock", "folder"),
        hold_lock(tmp_path / ".lock-0-of-2", "task"),
        pytest.raises(LockHeld, match=f"folder: in use by process {os.getpid()}"),
    ):
        hold_lock(tmp_path / ".lock", "folder").__enter__()


def test_without_flock_a_process_on_another_host_is_alive_while_it_touches_its_claim(tmp_path, monkeypatch):
    remove_flock(monkeypatch, errno.ENOSYS)
    with held(tmp_path, errno.ENOSYS) as process:
        (claim,) = tmp_path.iterdir()
        claim.write_text(json.dumps({**json.loads(claim.read_text()), "kernel": "of another host"}))
        os.utime(claim, (0, 0))
        while claim.stat().st_mtime == 0:
            time.sleep(0.001)
        refused = f"process {process.pid} on .* If it was killed, the folder is free 60 s later"
        with pytest.raises(LockHeld, match=refused):
            take(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(LockHeld, match=refused):
            take(tmp_path)
        os.utime(claim, (0, 0))
        take(tmp_path)
    assert not list(tmp_path.iterdir())


def test_with_flock_that_does_not_reach_another_host_its_process_is_heard(tmp_path, monkeypatch):
    """As on Lustre with localflock: here the lock of the other host seems to be free."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(locks, "_UNHEARD_S", 0.5)
    with held(tmp_path) as process:
        (claim,) = tmp_path.iterdir()
        claim.write_text(json.dumps({**json.loads(claim.read_text()), "kernel": "of another host"}))
        with pytest.raises(LockHeld, match=f"process {process.pid} on "):
            take(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        take(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_flock_a_process_that_lost_its_claim_ends(tmp_path):
    with held(tmp_path, errno.ENOSYS) as process:
        (claim,) = tmp_path.iterdir()
        claim.unlink()
        assert process.wait(timeout=60) == 69
