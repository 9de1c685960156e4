"""Actions that succeed on all ranks or fail on all ranks, and checks that the ranks agree."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from bigearth_tf.distributed.collectives import gather
from bigearth_tf.distributed.rendezvous import exchange_messages, host_name
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.runtime.error_file import write_error
from bigearth_tf.runtime.exit_codes import EXIT_RANKS_DIFFER

T = TypeVar("T")
_LONGEST_VALUE_CHARS = 400


class RanksDiffer(ValueError):  # noqa: N818 - the name says what is wrong
    """The ranks of a run do not fit together; every rank raises it with the same message."""


@contextlib.contextmanager
def exit_if_ranks_differ() -> Iterator[None]:
    """Ends a command whose ranks differ with the message alone and EXIT_RANKS_DIFFER."""
    try:
        yield
    except RanksDiffer as error:
        write_error(str(error))
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_RANKS_DIFFER)


def run_on_all_ranks(action: Callable[[], T], replica: Replica) -> T:
    """Returns what `action` returns on this rank, after it has succeeded on all ranks.

    Raises:
        Exception: The action's own, if it failed on every rank.
        RanksDiffer: It failed on some ranks only.
    """
    return _run_on_all_ranks(action, lambda message: gather(message, replica))


def run_on_all_ranks_before_horovod(action: Callable[[], T]) -> T:
    """Does what `run_on_all_ranks` does, without Horovod and without Horovod's time limit for slow ranks.

    Raises:
        Exception: The action's own, if it failed on every rank.
        RanksDiffer: It failed on some ranks only.
        ConnectionError: The launcher's server cannot be reached.
    """
    return _run_on_all_ranks(action, exchange_messages)


def _run_on_all_ranks(action: Callable[[], T], exchange: Callable[[str], list[str]]) -> T:
    """Runs the action; `exchange` takes the message of this rank and returns those of all ranks, in order."""
    failure: Exception | None = None
    try:
        value = action()
    except Exception as error:  # noqa: BLE001 - the other ranks must learn of every failure
        failure = error
    messages = exchange(f"on {host_name()}: {failure or type(failure).__name__}" if failure else "")
    failed = [f"rank {rank} {message}" for rank, message in enumerate(messages) if message]
    if failure and len(failed) == len(messages):
        raise failure
    if failed:
        more = f" ({len(failed)} of {len(messages)} ranks failed.)" if len(failed) > 1 else ""
        raise RanksDiffer(
            f"Some ranks cannot continue, although others can. {failed[0]}{more} All nodes must see the same data and "
            "work folder, and have room on their own disks."
        ) from failure
    return value


def run_on_chief(action: Callable[[], object], replica: Replica) -> None:
    """Runs an action on rank 0; returns on every rank after it has succeeded.

    Raises:
        Exception: The action's own, on every rank.
    """
    failure: Exception | None = None
    try:
        if replica.is_chief:
            action()
    except Exception as error:  # noqa: BLE001 - the other ranks must learn of every failure
        failure = error
    failure = gather(failure, replica)[0]
    if failure:
        raise failure


def check_ranks_agree(facts: dict[str, Any], replica: Replica, remedy: str = "") -> None:
    """Checks that all ranks have the same facts.

    Args:
        facts: Name -> value; of a value that is a dict, the message shows only the fields that differ.
        replica: This rank.
        remedy: What to do, added to the message.

    Raises:
        RanksDiffer: On every rank; names the fact and the first rank that differs from rank 0.
    """
    gathered = gather((host_name(), facts), replica)
    host, first = gathered[0]
    for name, value in first.items():
        others = [rank for rank, (_, other) in enumerate(gathered) if other.get(name) != value]
        if others:
            rank = others[0]
            here, there = _describe_difference(value, gathered[rank][1].get(name))
            more = f"; {len(others)} ranks differ from rank 0" if len(others) > 1 else ""
            raise RanksDiffer(
                f"Ranks disagree on {name}: rank 0 has {here}, rank {rank} has {there}. "
                f"(Rank 0 runs on {host}, rank {rank} on {gathered[rank][0]}{more}.) {remedy}".rstrip()
            )


def digest_variables(variables: Sequence[tf.Variable]) -> str:
    """Returns a hash of the values of variables, in their order: a fact to compare between ranks."""
    hashed = hashlib.sha256()
    for variable in variables:
        hashed.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return hashed.hexdigest()[:16]


def _describe_difference(one: Any, other: Any) -> list[str]:
    """Returns two values as texts; of two dicts, only the fields that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        sides = [_flatten(one), _flatten(other)]
        names = [name for name in {**sides[0], **sides[1]} if sides[0].get(name) != sides[1].get(name)]
        texts = [", ".join(f"{name}={side.get(name, 'none')}" for name in names) for side in sides]
    else:
        texts = [str(one), str(other)]
    return [textwrap.shorten(text, _LONGEST_VALUE_CHARS, placeholder=" ...") for text in texts]


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns dotted name -> JSON of every field of a nested dict."""
    flat = {}
    for name, field in value.items():
        inner = _flatten(field, f"{prefix}{name}.") if isinstance(field, dict) else {}
        flat.update(inner or {f"{prefix}{name}": json.dumps(field, default=str)})
    return flat
