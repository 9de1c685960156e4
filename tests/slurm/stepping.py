"""Command for tests: ranks that take steps together, save their step, stop when asked, and fail on request.

usage: stepping.py FOLDER STEPS SECONDS_A_STEP [HOW:RANK:STEP]     HOW: kill, raise, hang
They end after STEPS steps, or when the file FOLDER/enough exists.
"""

import os
import signal
import sys
import time
from pathlib import Path

from bigearth_tf.runtime.command import run_command

folder, steps, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
how, failing_rank, failing_step = [*sys.argv[4].split(":")] if len(sys.argv) > 4 else ("", "-1", "-1")
del sys.argv[1:]


def fail():
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raise":
        raise RuntimeError("boom")
    if how == "hang":
        sleep_forever()


def sleep_forever():
    time.sleep(1000)


def main():
    import tensorflow as tf

    from bigearth_tf.distributed import collectives
    from bigearth_tf.distributed.replica import convert_lost_rank_errors, start_replica
    from bigearth_tf.distributed.watchdog import Watchdog
    from bigearth_tf.runtime.exit_codes import EXIT_STOPPED
    from bigearth_tf.runtime.stop_signal import StopSignal

    replica = start_replica()
    state = folder / "state"
    first = int(state.read_text()) if state.exists() else 0
    print(
        f"rank {replica.rank} of {replica.world_size} on {os.environ['HOROVOD_HOSTNAME']} begins at {first}", flush=True
    )
    stop_signal, watchdog = StopSignal(), Watchdog(folder, replica, timeout_s=10 if how == "hang" else 60)
    with stop_signal.listen(), convert_lost_rank_errors(replica), watchdog.watch():
        for step in range(first, steps):
            watchdog.beat(f"step {step}")
            if (replica.rank, step) == (int(failing_rank), int(failing_step)):
                fail()
            requests = [float(bool(stop_signal.received)), float((folder / "enough").exists())]
            stop, enough = collectives.mean_of_ranks(tf.constant(requests), replica)
            if replica.is_chief:
                (folder / "new").write_text(str(step + 1))
                (folder / "new").rename(state)
            if stop > 0:
                print(f"rank {replica.rank} saved at {step + 1}", flush=True)
                sys.exit(EXIT_STOPPED)
            if enough > 0:
                break
            time.sleep(seconds)
        print(f"rank {replica.rank} of {replica.world_size} is done", flush=True)


run_command(main)
