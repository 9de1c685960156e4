"""How does a run go on with the nodes that are left, and take back one that returns?

Every change of nodes is a new launch, which goes on from the latest checkpoint: what a run computes does not depend on
the number of ranks, so that neither does its result. NOTE: Horovod's own elastic mode keeps processes alive instead; on
SLURM it needs an ssh of its own, takes a failed node for success where srun says 0, and hangs without a word where a
collective comes before its training loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from absl import logging

from bigearth_tf.launch import slurm_job
from bigearth_tf.launch.launcher import Launch, Outcome
from bigearth_tf.runtime.exit_codes import EXIT_LOST, EXIT_STOPPED

_LOOK_EVERY_S = 15.0


def run_elastic(
    make_launch: Callable[[Sequence[str]], Launch], nodes: Sequence[str], min_nodes: int, max_nodes: int
) -> Outcome:
    """Launches on as many nodes as there are, again and again, until the command is done or too few are left.

    Args:
        make_launch: Returns a launch on the nodes named.
        nodes: Those of the job.
        min_nodes: Fewer are not trained on.
        max_nodes: Not more are used at a time.
    """
    usable = list(nodes)
    while True:
        used = usable[:max_nodes]
        logging.info("launch: using %d nodes of %d: %s", len(used), len(nodes), ", ".join(used))
        launch = make_launch(used)
        outcome, returned = _run_until_a_node_returns(
            launch, [n for n in nodes if n not in used], len(used) < max_nodes
        )
        if outcome.lost_hosts:
            logging.info("launch: %s", outcome.cause)
            usable = [node for node in used if node not in outcome.lost_hosts]
        elif outcome.code == EXIT_STOPPED and returned and not outcome.stopped_by:
            logging.info("launch: %s is back", returned)
            usable = [*used, returned]
        else:
            return outcome
        if len(usable) < min_nodes:
            # Others of the job may be free, or the lost ones back.
            usable += [node for node in nodes if node not in usable and slurm_job.answers(node)]
        if len(usable) < min_nodes:
            cause = f"{len(usable)} nodes are left, --min_nodes={min_nodes}: {outcome.cause}"
            return Outcome(EXIT_LOST, cause, outcome.lost_hosts)


def _run_until_a_node_returns(launch: Launch, absent: Sequence[str], may_grow: bool) -> tuple[Outcome, str]:
    """Returns the outcome of a launch, which is stopped where an absent node answers, and that node."""
    ended, returned = threading.Event(), ""

    def look() -> None:
        nonlocal returned
        while absent and may_grow and not ended.wait(_LOOK_EVERY_S):
            returned = next((node for node in slurm_job.usable_nodes(absent) if slurm_job.answers(node)), "")
            if returned:
                launch.stop()
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    outcome = launch.run()
    ended.set()
    looking.join()
    return outcome, returned
