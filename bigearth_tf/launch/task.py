"""Task of one rank: reports its place, waits until all ranks have started, and runs the command.

python -m bigearth_tf.launch.task COMMAND...    started by the launcher, with TaskSettings in its environment
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from bigearth_tf.distributed.rendezvous import host_name
from bigearth_tf.launch import network
from bigearth_tf.launch.layout import (
    Place,
    choose_device_name,
    find_place_in_step,
    make_horovod_variables,
    make_place_on_this_host,
    make_thread_variables,
)
from bigearth_tf.launch.messages import Ending, Greeting, TaskSettings
from bigearth_tf.launch.rank_process import RankProcess
from bigearth_tf.launch.server import LaunchClient
from bigearth_tf.runtime.exit_codes import EXIT_LOST, EXIT_NOT_FOUND, EXIT_RANKS_DIFFER

# Set by the launcher for ranks on this host; in a SLURM job, SLURM's own variables say the same.
RANK_VARIABLE, NUM_RANKS_VARIABLE = "BIGEARTH_LAUNCH_RANK", "BIGEARTH_LAUNCH_NUM_RANKS"


def main(command: Sequence[str]) -> int:
    """Runs the command of a rank; returns its exit code."""
    settings, place = TaskSettings.from_environ(os.environ), _find_place()
    host, client = host_name(), LaunchClient(settings, place.rank)
    route = _find_route(settings.address, several_nodes=len(place.tasks_per_node) > 1)
    problem = route.problem
    try:
        settings.log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = problem or f"{error}; name another folder with --log_dir"
    greeting = Greeting(host, route.address, choose_device_name(place, os.environ), place, problem, route.remark)
    try:
        client.send_greeting(greeting)
        orders = client.wait_for_orders(lambda orders: orders.go or orders.leave)
    except OSError as error:
        logging.error(
            "launch: rank %d on %s cannot reach the launcher at %s: %s", place.rank, host, settings.address, error
        )
        return EXIT_LOST
    if not orders.go:
        return EXIT_RANKS_DIFFER
    try:
        process = RankProcess(command, _make_environ(settings, greeting, route.interface), settings, place.rank)
    except OSError as error:
        client.send_ending(Ending(EXIT_NOT_FOUND, f"{shlex.join(command)}: {error}"))
        return EXIT_NOT_FOUND
    return process.run(client)


def _find_place() -> Place:
    environ = os.environ
    if RANK_VARIABLE in environ:
        return make_place_on_this_host(int(environ[RANK_VARIABLE]), int(environ[NUM_RANKS_VARIABLE]))
    return find_place_in_step(environ)


def _make_environ(settings: TaskSettings, greeting: Greeting, interface: str) -> dict[str, str]:
    """Returns the command's variables: those of this process without any that mislead Horovod, and Horovod's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PMI_", "PMIX_", "OMPI_"))}
    return {
        **make_thread_variables(greeting.place, os.environ),
        "NCCL_SOCKET_IFNAME": f"={interface}",
        # The launcher notices a lost rank sooner.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(int(settings.fail_within_s)),
        "PYTHONUNBUFFERED": "1",
        # The user may set the variables above, but not those below.
        **kept,
        **make_horovod_variables(greeting.place, greeting.host, interface),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": settings.address,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(settings.port),
    }


class _Route(NamedTuple):
    """Interface and address by which the other nodes reach this one, or the problem; `remark` is for users."""

    interface: str = ""
    address: str = ""
    problem: str = ""
    remark: str = ""


def _find_route(launcher_address: str, several_nodes: bool) -> _Route:
    """Returns the route by the interface that the site names, else by the one that leads to the launcher."""
    named = os.environ.get(network.INTERFACE_VARIABLE)
    try:
        address = (
            network.find_interface_address(named)
            if named and several_nodes
            else network.find_source_address(launcher_address)
        )
        interface = named if named and several_nodes else network.find_interface(address)
    except (OSError, ValueError) as error:
        hint = f"; {network.INTERFACE_VARIABLE} in slurm/env.sh names it" if named else ""
        return _Route(problem=f"{error}{hint}")
    problem, remark = network.check_own_name(address) if several_nodes else ("", "")
    return _Route(interface, address, problem, remark)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
