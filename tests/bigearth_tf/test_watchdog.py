"""Does the watchdog end a process that stands still, even where the folder that the ranks share hangs, too?"""

import os
import subprocess
import sys
import time
from pathlib import Path

# The main thread stands still, and so does every write to the work folder from some moment on.
SCRIPT = """
import sys, threading, time
from pathlib import Path
from bigearth_tf import watchdog
from bigearth_tf.distributed import Replica

dog = watchdog.Watchdog(Path(sys.argv[1]), Replica(), timeout_s=1.0)
with dog.watching():
    dog.beat("step 1")
    if sys.argv[2] == "hangs":
        watchdog._REPORT_S = 1.0
        watchdog.write_text_atomically = lambda *_: threading.Event().wait()
    time.sleep(100)
"""


def end_of(folder, how):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BIGEARTH_ERROR_FILE": str(folder / "error"),
    }
    started = time.monotonic()
    command = [sys.executable, "-c", SCRIPT, str(folder / "work"), how]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert time.monotonic() - started < 60
    assert result.returncode == 70
    assert "Python stacks" in result.stderr
    assert "watching" in result.stderr or "<string>" in result.stderr
    return result.stderr, (folder / "error").read_text()


def test_it_says_where_the_process_stood(tmp_path):
    said, noted = end_of(tmp_path, "works")
    assert "rank 0 on" in said and "step 1" in said
    assert "has stood still for longest" in noted


def test_a_folder_that_hangs_does_not_keep_it(tmp_path):
    _, noted = end_of(tmp_path, "hangs")
    assert "no step for" in noted
