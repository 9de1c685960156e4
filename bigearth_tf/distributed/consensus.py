"""Actions that succeed on all ranks or fail on all ranks, and checks that ranks agree."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bigearth_tf.distributed.collectives import gather
from bigearth_tf.distributed.rendezvous import host_name
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.runtime.error_file import note_error
from bigearth_tf.runtime.exit_codes import EXIT_RANKS_DIFFER

T = TypeVar("T")
# Takes what this rank says; returns what all ranks say, in their order.
Exchange = Callable[[str], list[str]]


class RanksDiffer(ValueError):  # noqa: N818 - says what is wrong
    """The ranks of a run do not fit together; every rank raises it with the same message."""


def run_with_exchange(action: Callable[[], T], exchange: Exchange) -> T:
    """Returns what `action` returns on this rank, once it has gone well on all ranks.

    Raises:
        Exception: Its own, where it failed on every rank.
        RanksDiffer: It failed on some ranks only.
    """
    failure: Exception | None = None
    try:
        value = action()
    except Exception as error:  # noqa: BLE001 - whatever it is, the others must hear of it
        failure = error
    said = exchange(f"on {host_name()}: {failure or type(failure).__name__}" if failure else "")
    failed = [f"rank {rank} {message}" for rank, message in enumerate(said) if message]
    if failure and len(failed) == len(said):
        raise failure
    if failed:
        more = f" ({len(failed)} of {len(said)} ranks failed.)" if len(failed) > 1 else ""
        raise RanksDiffer(
            f"Some ranks cannot go on, though others can. {failed[0]}{more} All nodes must see the same data and "
            "work folder, and have room on their own disks."
        ) from failure
    return value


@contextlib.contextmanager
def exit_where_ranks_differ() -> Iterator[None]:
    """Ends a command whose ranks differ by the message alone and an exit code of its own."""
    try:
        yield
    except RanksDiffer as error:
        note_error(str(error))
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_RANKS_DIFFER)


_LONGEST_VALUE = 400


def run_on_all_ranks(action: Callable[[], T], replica: Replica) -> T:
    """Returns what `action` returns on this rank, once it has gone well on all ranks; none goes on before.

    Raises:
        Exception: Its own, where it failed on every rank.
        RanksDiffer: It failed on some ranks only.
    """
    return run_with_exchange(action, lambda message: gather(message, replica))


def check_equal(facts: dict[str, Any], replica: Replica, remedy: str = "") -> None:
    """Checks that all ranks hold the same facts; of a fact that is a dict, what differs in it is told.

    Raises:
        RanksDiffer: On every rank, naming the fact and the first rank that differs from rank 0.
    """
    held = gather((host_name(), facts), replica)
    host, first = held[0]
    for name, value in first.items():
        others = [rank for rank, (_, other) in enumerate(held) if other.get(name) != value]
        if others:
            rank = others[0]
            here, there = _what_differs(value, held[rank][1].get(name))
            more = f"; {len(others)} ranks differ from rank 0" if len(others) > 1 else ""
            raise RanksDiffer(
                f"Ranks disagree on {name}: rank 0 has {here}, rank {rank} has {there}. "
                f"(Rank 0 runs on {host}, rank {rank} on {held[rank][0]}{more}.) {remedy}".rstrip()
            )


def _what_differs(one: Any, other: Any) -> list[str]:
    """Returns two values as texts; of two dicts, the fields that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        sides = [_leaves(one), _leaves(other)]
        names = [name for name in {**sides[0], **sides[1]} if sides[0].get(name) != sides[1].get(name)]
        texts = [", ".join(f"{name}={side.get(name, 'none')}" for name in names) for side in sides]
    else:
        texts = [str(one), str(other)]
    return [textwrap.shorten(text, _LONGEST_VALUE, placeholder=" ...") for text in texts]


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found = {}
    for name, field in value.items():
        inner = _leaves(field, f"{prefix}{name}.") if isinstance(field, dict) else {}
        found.update(inner or {f"{prefix}{name}": json.dumps(field, default=str)})
    return found
