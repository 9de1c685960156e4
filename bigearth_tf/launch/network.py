"""Addresses by which the hosts of a launch reach each other, and the interfaces that have them."""

from __future__ import annotations

import re
import socket
import subprocess

import psutil

# Set in slurm/env.sh: the interface to use; otherwise the route to the other host decides.
INTERFACE_VARIABLE = "BIGEARTH_IFACE"


def find_source_address(destination: str) -> str:
    """Returns the IPv4 address of this host on the route to a destination; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((destination, 9))
        return probe.getsockname()[0]


def _interface_addresses() -> list[tuple[str, str]]:
    """Returns (interface, IPv4 address) pairs of this host."""
    return [
        (name, address.address)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET
    ]


def find_interface(address: str) -> str:
    """Returns the name of the interface that has an address.

    Raises:
        ValueError: No interface of this host has it.
    """
    for name, owned in _interface_addresses():
        if owned == address:
            return name
    raise ValueError(f"no interface of {socket.gethostname()} has the address {address}")


def find_interface_address(interface: str) -> str:
    """Returns the IPv4 address of an interface.

    Raises:
        ValueError: There is no such interface, or it has no address.
    """
    for name, address in _interface_addresses():
        if name == interface:
            return address
    known = ", ".join(f"{name} ({address})" for name, address in _interface_addresses())
    raise ValueError(f"{socket.gethostname()} has no interface {interface!r} with an IPv4 address; it has {known}")


def find_node_address(node: str) -> str:
    """Returns the IPv4 address at which SLURM reaches a node; DNS need not know the name of the node."""
    facts = subprocess.run(["scontrol", "show", "node", node], capture_output=True, text=True, check=False).stdout
    match = re.search(r"NodeAddr=(\S+)", facts)
    return socket.gethostbyname(match[1] if match else node)


def check_own_name(address: str) -> tuple[str, str]:
    """Returns (why other nodes cannot reach this one by its own name, a remark for users); "" for nothing.

    Horovod 0.28.1 uses HOROVOD_GLOO_IFACE for its start only. The connections that carry the data listen on the address
    to which the host's own name resolves; the installers of Debian and Ubuntu set that to 127.0.1.1.
    """
    name = socket.gethostname()
    remedy = f"its line in /etc/hosts, which an administrator can fix, should be: {address} {name}"
    try:
        own = socket.gethostbyname(name)
    except OSError:
        return f"{name} cannot resolve its own name, on which Horovod listens; {remedy}", ""
    if own.startswith("127."):
        return f"{name} resolves its own name to {own}, which other nodes cannot reach; {remedy}", ""
    remark = f"Gloo's data go by {own}, to which {name} resolves its own name, and not by {address}"
    return "", "" if own == address else remark
