"""Splits by a seeded hash, for data sets without official ones.

A stratum is a group of which every split gets a share, such as a class; a member is a unit that is never divided, such
as a patch or a scene. The assignment does not depend on the order of the members or on their paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

# Percent of each stratum.
SPLIT_SHARES: dict[str, int] = {"train": 60, "val": 20, "test": 20}


def assign_splits(
    strata: Mapping[str, Iterable[str]], seed: int, shares: Mapping[str, int] = SPLIT_SHARES
) -> dict[str, str]:
    """Returns member -> split.

    The members of a stratum are sorted by a hash of (seed, member) and cut at the shares, rounded so that they add up.
    A stratum with at least as many members as there are splits is in all splits.

    Args:
        strata: Stratum -> its members. A member is in one stratum.
        seed: Another seed gives another assignment.
        shares: Split -> percent; the sum is 100.
    """
    assert sum(shares.values()) == 100, shares
    split_of: dict[str, str] = {}
    for members in strata.values():
        ordered = sorted(members, key=lambda member: (_seeded_hash(seed, member), member))
        assert len(set(ordered)) == len(ordered) and not split_of.keys() & set(ordered), "a member is given twice"
        start = 0
        for split, count in _counts(len(ordered), shares).items():
            split_of.update(dict.fromkeys(ordered[start : start + count], split))
            start += count
    return split_of


def _seeded_hash(seed: int, member: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{member}".encode(), digest_size=16).digest()


def _counts(total: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Returns split -> number of members.

    Shares are rounded down and the rest goes to the largest remainders; then each empty split takes a member of the
    largest split.
    """
    counts = {split: total * share // 100 for split, share in shares.items()}
    by_remainder = sorted(shares, key=lambda split: -(total * shares[split] % 100))  # Stable: ties go to the first.
    for split in by_remainder[: total - sum(counts.values())]:
        counts[split] += 1
    empty = [split for split, count in counts.items() if not count]
    for split in empty if total >= len(counts) else ():
        counts[max(counts, key=lambda name: counts[name])] -= 1
        counts[split] = 1
    return counts
