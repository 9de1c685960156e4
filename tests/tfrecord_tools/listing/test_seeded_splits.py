"""Seeded splits: stratified, independent of the order of members, decided by the seed."""

import collections
import random

import pytest

from tfrecord_tools.listing.seeded_splits import SPLIT_SHARES, assign_splits


def counts(split_of, members):
    found = collections.Counter(split_of[member] for member in members)
    return tuple(found[split] for split in SPLIT_SHARES)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, (0, 0, 0)),
        (1, (1, 0, 0)),
        (2, (1, 1, 0)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (7, (4, 2, 1)),  # 4.2, 1.4, 1.4: the rest goes to the first of the two equal remainders.
        (8, (5, 2, 1)),  # 4.8, 1.6, 1.6: the rests go to the largest remainder, then to the first of equal ones.
        (10, (6, 2, 2)),
        (2700, (1620, 540, 540)),
    ],
)
def test_shares_are_rounded_so_that_they_add_up_and_no_split_is_empty(total, expected):
    members = [f"Forest_{number}" for number in range(total)]
    assert counts(assign_splits({"Forest": members}, seed=0), members) == expected


def test_each_stratum_is_split_on_its_own():
    strata = {name: [f"{name}_{number}" for number in range(size)] for name, size in (("a", 100), ("b", 5), ("c", 3))}
    split_of = assign_splits(strata, seed=7)
    assert [counts(split_of, members) for members in strata.values()] == [(60, 20, 20), (3, 1, 1), (1, 1, 1)]
    assert assign_splits({"a": strata["a"]}, seed=7).items() <= split_of.items()


def test_the_order_of_members_and_strata_changes_nothing():
    strata = {name: [f"{name}_{number}" for number in range(50)] for name in "abc"}
    shuffled = {name: random.Random(1).sample(members, len(members)) for name, members in reversed(strata.items())}
    assert assign_splits(shuffled, seed=3) == assign_splits(strata, seed=3)


def test_a_seed_always_gives_the_same_splits_and_another_seed_others():
    members = [f"River_{number}" for number in range(1, 11)]
    test = {seed: {m for m, s in assign_splits({"": members}, seed).items() if s == "test"} for seed in (0, 1)}
    assert test[0] != test[1]
    assert test[0] == {"River_3", "River_9"}


def test_the_shares_may_be_given():
    members = [str(number) for number in range(20)]
    split_of = assign_splits({"": members}, seed=0, shares={"train": 75, "val": 25})
    assert collections.Counter(split_of.values()) == {"train": 15, "val": 5}


def test_adding_a_member_changes_almost_no_split():
    members = [f"p{number}" for number in range(1000)]
    before, after = (assign_splits({"": members[:size]}, seed=0) for size in (999, 1000))
    assert sum(before[member] != after[member] for member in members[:999]) <= 2
