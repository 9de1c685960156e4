"""Runs a command as many ranks: on the nodes of a SLURM job, on this host, or where something else has started it.

    python -m bigearth_tf.launch -- python -m experiments.train ...              in a SLURM job: one rank a task
    python -m bigearth_tf.launch --ranks=2 -- python -m experiments.train ...    2 ranks on this host
    horovodrun -np 2 python -m bigearth_tf.launch -- ...                         starts the command as it is

Exit codes: 0; that of the rank that failed first (128 + N for signal N); 69 a rank, a node or the network was lost, or
a process frozen; 70 a rank stood still; 75 stopped and saved, to go on by the same command; 78 the ranks do not fit
together.
"""

from __future__ import annotations

import argparse
import logging as std_logging
import os
import signal
import sys
import time
from pathlib import Path

from absl import logging

from bigearth_tf.launch import slurm_job
from bigearth_tf.launch.elastic import run_elastic
from bigearth_tf.launch.launcher import Launch, Outcome
from bigearth_tf.launch.start import BySrun, OnThisHost, Start, job_nodes
from bigearth_tf.runtime.exit_codes import EXIT_STOPPED
from bigearth_tf.runtime.stop_signal import StopSignal

# Of horovodrun, of Open MPI's and of other launchers' ranks.
_STARTED_BY = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bigearth_tf.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, help="so many ranks on this host, without SLURM")
    parser.add_argument("--log_dir", type=Path, help="folder for each rank's output; launch-<job or time> by default")
    parser.add_argument(
        "--fail_within", type=float, default=60, help="seconds in which a failure ends the job (%(default)s)"
    )
    parser.add_argument(
        "--start_timeout", type=float, default=60, help="seconds in which all ranks start (%(default)s)"
    )
    parser.add_argument("--srun", default="", help="further options of srun, such as '--distribution=cyclic'")
    parser.add_argument("--max_restarts", type=int, default=100, help="times that a job is queued again (%(default)s)")
    parser.add_argument(
        "--elastic", action="store_true", help="go on with the nodes that are left; needs sbatch --no-kill"
    )
    parser.add_argument("--min_nodes", type=int, help="of an elastic run (1)")
    parser.add_argument("--max_nodes", type=int, help="of an elastic run; those of the job by default")
    parser.add_argument("command", nargs="+", help="after --: what each rank runs")
    arguments = parser.parse_args()
    if arguments.ranks and (arguments.elastic or arguments.srun):
        parser.error("--elastic and --srun are of a SLURM job; --ranks starts all on this host")
    if not arguments.elastic and (arguments.min_nodes, arguments.max_nodes) != (None, None):
        parser.error("--min_nodes and --max_nodes need --elastic")
    arguments.min_nodes = 1 if arguments.min_nodes is None else arguments.min_nodes
    if not 1 <= arguments.min_nodes <= (arguments.max_nodes or arguments.min_nodes):
        parser.error("expected 1 <= --min_nodes <= --max_nodes")
    if arguments.ranks is not None and arguments.ranks < 1:
        parser.error("--ranks: expected 1 or more")
    if min(arguments.fail_within, arguments.start_timeout) <= 0:
        parser.error("--fail_within and --start_timeout: expected seconds above 0")
    return arguments


def main() -> int:
    """Launches, as the arguments say; returns the exit code."""
    arguments = _arguments()
    std_logging.basicConfig(format="%(message)s", level=std_logging.INFO)
    if any(name in os.environ for name in _STARTED_BY) and not arguments.ranks:
        os.execvp(arguments.command[0], arguments.command)
    if not arguments.ranks and "SLURM_JOB_ID" not in os.environ:
        sys.exit("error: this is no SLURM job; say --ranks=N for N ranks on this host, or submit it (README, SLURM).")
    log_dir = arguments.log_dir or Path(f"launch-{os.environ.get('SLURM_JOB_ID') or time.strftime('%Y%m%d-%H%M%S')}")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # Before the launch and after it: what is done need not stop.
    stop_signal = StopSignal((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))
    with stop_signal.listen():
        outcome = _launch(arguments, log_dir, stop_signal)
    logging.info("launch: exit code %d: %s", outcome.code, outcome.cause)
    if _can_go_on(outcome):
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if restarts >= arguments.max_restarts:
            logging.info("launch: not queued again: it was %d times (--max_restarts); submit it to go on", restarts)
        else:
            logging.info("launch: the job is queued again and will go on")
            slurm_job.requeue()
    return outcome.code


def _launch(arguments: argparse.Namespace, log_dir: Path, stop_signal: StopSignal) -> Outcome:
    """Launches once, or again and again where the arguments say elastic."""

    def make_launch(start: Start) -> Launch:
        return Launch(start, log_dir, arguments.start_timeout, arguments.fail_within, stop_signal)

    if arguments.ranks:
        return make_launch(OnThisHost(arguments.command, arguments.ranks)).run()
    if not arguments.elastic:
        return make_launch(BySrun(arguments.command, arguments.srun.split())).run()
    nodes = job_nodes(os.environ)
    if arguments.min_nodes > len(nodes):
        sys.exit(f"error: --min_nodes={arguments.min_nodes}, but the job has {len(nodes)} nodes.")
    return run_elastic(
        lambda used: make_launch(BySrun(arguments.command, arguments.srun.split(), used)),
        nodes,
        arguments.min_nodes,
        arguments.max_nodes or len(nodes),
    )


def _can_go_on(outcome: Outcome) -> bool:
    """Tells whether the job should be queued again: its time is nearly over, it is preempted, or has lost a node."""
    stopped = outcome.code == EXIT_STOPPED and outcome.stopped_by in ("SIGUSR1", "SIGTERM")
    return (stopped or bool(outcome.lost_hosts)) and slurm_job.can_be_requeued()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
