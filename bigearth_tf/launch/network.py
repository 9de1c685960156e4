"""By which address do the ranks reach one another? By the interface a site names, or the one that the route takes."""

from __future__ import annotations

import re
import socket
import subprocess

import psutil


def source_address(destination: str) -> str:
    """Returns this host's IPv4 address from which the kernel would send to a destination; nothing is sent."""
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


def interface_of(address: str) -> str:
    """Returns the interface that has an address.

    Raises:
        ValueError: None has.
    """
    for name, owned in _interface_addresses():
        if owned == address:
            return name
    raise ValueError(f"no interface of {socket.gethostname()} has the address {address}")


def address_of(interface: str) -> str:
    """Returns the IPv4 address of an interface.

    Raises:
        ValueError: There is no such interface, or it has no address.
    """
    for name, address in _interface_addresses():
        if name == interface:
            return address
    known = ", ".join(f"{name} ({address})" for name, address in _interface_addresses())
    raise ValueError(f"{socket.gethostname()} has no interface {interface!r} with an IPv4 address; it has {known}")


def node_address(node: str) -> str:
    """Returns the IPv4 address at which SLURM reaches a node; the node's name need not be known to DNS."""
    told = subprocess.run(["scontrol", "show", "node", node], capture_output=True, text=True, check=False).stdout
    match = re.search(r"NodeAddr=(\S+)", told)
    return socket.gethostbyname(match[1] if match else node)


def own_name_problem(address: str) -> tuple[str, str]:
    """Returns (why the other nodes could not reach this one by its own name, what else is to be known); "" for nothing.

    Horovod 0.28.1 takes HOROVOD_GLOO_IFACE for its start only. The connections that carry the data listen on what the
    host's own name resolves to, which Debian's and Ubuntu's installers make 127.0.1.1.
    """
    name = socket.gethostname()
    remedy = f"its line in /etc/hosts (an administrator's to mend) should be: {address} {name}"
    try:
        own = socket.gethostbyname(name)
    except OSError:
        return f"{name} cannot resolve its own name, on which Horovod listens; {remedy}", ""
    if own.startswith("127."):
        return f"{name} resolves its own name to {own}, which other nodes cannot reach; {remedy}", ""
    remark = f"Gloo's data go by {own}, to which {name} resolves its own name, and not by {address}"
    return "", "" if own == address else remark
