"""Elastic runs: continue on the nodes that are left, and take back a node that returns.

Each change of nodes is a new launch, which resumes from the latest checkpoint: the result of a run does not depend on
the number of ranks.

NOTE: Horovod's own elastic mode keeps processes alive instead; on SLURM it needs its own ssh, reports a failed
node as success when srun returns 0, and hangs silently if a collective comes before its training loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from absl import logging

from bigearth_tf.launch import slurm_job
from bigearth_tf.launch.launcher import Launch, Outcome
from bigearth_tf.runtime.exit_codes import EXIT_LOST, EXIT_STOPPED

_POLL_S = 15.0


def run_elastic(
    make_launch: Callable[[Sequence[str]], Launch], nodes: Sequence[str], min_nodes: int, max_nodes: int
) -> Outcome:
    """Launches again after each change of nodes, until the command is done or too few nodes are left.

    Args:
        make_launch: Returns a launch on the named nodes.
        nodes: All nodes of the job.
        min_nodes: Fewer nodes end the run.
        max_nodes: Largest number of nodes that are used at a time.
    """
    usable = list(nodes)
    while True:
        used = usable[:max_nodes]
        logging.info("launch: using %d nodes of %d: %s", len(used), len(nodes), ", ".join(used))
        absent = [node for node in nodes if node not in used] if len(used) < max_nodes else []
        outcome, returned = _run_until_a_node_returns(make_launch(used), absent)
        if outcome.lost_hosts:
            logging.info("launch: %s", outcome.cause)
            usable = [node for node in used if node not in outcome.lost_hosts]
        elif outcome.code == EXIT_STOPPED and returned and not outcome.stopped_by:
            logging.info("launch: %s is back", returned)
            usable = [*used, returned]
        else:
            return outcome
        if len(usable) < min_nodes:
            # Other nodes of the job may be unused, or the lost ones may be back.
            usable += [node for node in nodes if node not in usable and slurm_job.can_run_step_on(node)]
        if len(usable) < min_nodes:
            cause = f"{len(usable)} nodes are left, --min_nodes={min_nodes}: {outcome.cause}"
            return Outcome(EXIT_LOST, cause, outcome.lost_hosts)


def _run_until_a_node_returns(launch: Launch, absent: Sequence[str]) -> tuple[Outcome, str]:
    """Runs a launch, and stops it when an absent node can be used; returns its outcome, and that node or ""."""
    ended, returned = threading.Event(), ""

    def poll() -> None:
        nonlocal returned
        while absent and not ended.wait(_POLL_S):
            returned = next((node for node in slurm_job.usable_nodes(absent) if slurm_job.can_run_step_on(node)), "")
            if returned:
                launch.stop()
                return

    polling = threading.Thread(target=poll, daemon=True)
    polling.start()
    outcome = launch.run()
    ended.set()
    polling.join()
    return outcome, returned
