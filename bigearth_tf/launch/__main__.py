"""Runs a command on several ranks: on the nodes of a SLURM job, on this host, or as another launcher started it.

    python -m bigearth_tf.launch -- python -m experiments.train ...              in a SLURM job: one rank a task
    python -m bigearth_tf.launch --ranks=2 -- python -m experiments.train ...    2 ranks on this host
    horovodrun -np 2 python -m bigearth_tf.launch -- ...                         runs only the command

Exit codes: 0; that of the rank that failed first (128 + N for signal N); 69 a rank, a node or the network was lost, or
a process was frozen; 70 a rank made no progress; 75 stopped and saved, the same command resumes; 78 the ranks do not
fit together.
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
from bigearth_tf.launch.task_starters import LocalStarter, SrunStarter, TaskStarter, list_job_nodes
from bigearth_tf.runtime.command import expand_home
from bigearth_tf.runtime.exit_codes import EXIT_BY_SIGNAL, EXIT_STOPPED
from bigearth_tf.runtime.stop_signal import StopSignal

# Set for ranks by horovodrun, by Open MPI's mpirun, and by other launchers.
_RANK_VARIABLES = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bigearth_tf.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, help="number of ranks on this host, without SLURM")
    parser.add_argument(
        "--log_dir", type=Path, help="folder for the log of each rank; default: runs/launch-<job or time>"
    )
    parser.add_argument(
        "--fail_within", type=float, default=60, help="seconds in which a failure ends the job (%(default)s)"
    )
    parser.add_argument(
        "--start_timeout", type=float, default=60, help="seconds in which all ranks must start (%(default)s)"
    )
    parser.add_argument("--srun", default="", help="further options of srun, such as '--distribution=cyclic'")
    parser.add_argument(
        "--max_restarts", type=int, default=100, help="how often a job is queued again at most (%(default)s)"
    )
    parser.add_argument(
        "--elastic", action="store_true", help="continue on the nodes that are left; needs sbatch --no-kill"
    )
    parser.add_argument("--min_nodes", type=int, help="fewest nodes of an elastic run; default: 1")
    parser.add_argument("--max_nodes", type=int, help="most nodes of an elastic run; default: all nodes of the job")
    parser.add_argument("command", nargs="+", help="after --: what each rank runs")
    given = sys.argv[1:]
    ours = given.index("--") if "--" in given else len(given)  # What follows is the command of the ranks.
    arguments = parser.parse_args([*map(expand_home, given[:ours]), *given[ours:]])
    _check_arguments(parser, arguments)
    return arguments


def _check_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Sets the default of --min_nodes, and ends the command if arguments do not fit together."""
    if arguments.ranks and (arguments.elastic or arguments.srun):
        parser.error("--elastic and --srun are for a SLURM job; --ranks starts all ranks on this host")
    if not arguments.elastic and (arguments.min_nodes, arguments.max_nodes) != (None, None):
        parser.error("--min_nodes and --max_nodes need --elastic")
    arguments.min_nodes = 1 if arguments.min_nodes is None else arguments.min_nodes
    if not 1 <= arguments.min_nodes <= (arguments.max_nodes or arguments.min_nodes):
        parser.error("expected 1 <= --min_nodes <= --max_nodes")
    if arguments.ranks is not None and arguments.ranks < 1:
        parser.error("--ranks: expected 1 or more")
    if min(arguments.fail_within, arguments.start_timeout) <= 0:
        parser.error("--fail_within and --start_timeout: expected seconds above 0")


def main() -> int:
    """Launches the command; returns the exit code."""
    arguments = _parse_arguments()
    std_logging.basicConfig(format="%(message)s", level=std_logging.INFO)
    if any(name in os.environ for name in _RANK_VARIABLES) and not arguments.ranks:
        os.execvp(arguments.command[0], arguments.command)
    if not arguments.ranks and "SLURM_JOB_ID" not in os.environ:
        sys.exit(
            "error: this is no SLURM job; give --ranks=N for N ranks on this host, or submit a job (slurm/README.md)."
        )
    job = os.environ.get("SLURM_JOB_ID") or time.strftime("%Y%m%d-%H%M%S")
    log_dir = arguments.log_dir or Path("runs", f"launch-{job}")
    # Ignored before and after the launch: a finished run must not be stopped.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    stop_signal = StopSignal()
    with stop_signal.listen():
        outcome = _launch(arguments, log_dir, stop_signal)
    logging.info("launch: exit code %d: %s", outcome.code, outcome.cause)
    if _should_be_requeued(outcome):
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if restarts >= arguments.max_restarts:
            logging.info("launch: not queued again after %d times (--max_restarts); submit it to resume", restarts)
        else:
            logging.info("launch: the job is queued again and will resume")
            slurm_job.requeue()
    return outcome.code


def _launch(arguments: argparse.Namespace, log_dir: Path, stop_signal: StopSignal) -> Outcome:
    """Launches once, or after each change of nodes if the run is elastic."""

    def make_launch(starter: TaskStarter) -> Launch:
        return Launch(starter, log_dir, arguments.start_timeout, arguments.fail_within, stop_signal)

    if arguments.ranks:
        return make_launch(LocalStarter(arguments.command, arguments.ranks)).run()
    if not arguments.elastic:
        return make_launch(SrunStarter(arguments.command, arguments.srun.split())).run()
    nodes = list_job_nodes(os.environ)
    if arguments.min_nodes > len(nodes):
        sys.exit(f"error: --min_nodes={arguments.min_nodes}, but the job has {len(nodes)} nodes.")
    return run_elastic(
        lambda used: make_launch(SrunStarter(arguments.command, arguments.srun.split(), used)),
        nodes,
        arguments.min_nodes,
        arguments.max_nodes or len(nodes),
    )


def _should_be_requeued(outcome: Outcome) -> bool:
    """Returns whether to queue the job again: its time is nearly over, it is preempted, or it has lost a node."""
    stopped = outcome.code == EXIT_STOPPED and outcome.stopped_by in ("SIGUSR1", "SIGTERM")
    return (stopped or bool(outcome.lost_hosts)) and slurm_job.can_be_requeued()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        logging.info("launch: interrupted; the same command resumes the run")
        sys.exit(EXIT_BY_SIGNAL + signal.SIGINT)
