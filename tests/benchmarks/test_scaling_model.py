"""The model of communication: values computed by hand, and the fit of a link to timings."""

import pytest

from benchmarks.scaling_model import Link, efficiency, fit_link, quickest_seconds, ring_seconds, tree_seconds

LINK = Link(bandwidth_bytes_s=1e9, latency_s=1e-5)


def test_one_rank_does_not_communicate():
    assert ring_seconds(1, 1e9, LINK) == tree_seconds(1, 1e9, LINK) == quickest_seconds(1, 1e9, LINK) == 0
    assert efficiency(0.1, 0.0) == 1


def test_the_time_of_a_ring():
    # 4 ranks: 6 hops of a quarter of 100 MB.
    assert ring_seconds(4, 1e8, LINK) == pytest.approx(6 * (0.25 * 1e8 / 1e9 + 1e-5))
    # For any number of ranks, at most twice the gradients pass a link.
    assert ring_seconds(1000, 1e8, LINK) == pytest.approx(0.2 * 0.999 + 1998e-5)


def test_trees_are_faster_for_many_ranks_and_few_bytes():
    assert tree_seconds(1024, 1e6, LINK) == pytest.approx(0.002 + 20 * 1e-5)
    assert tree_seconds(5, 0, LINK) == pytest.approx(6 * 1e-5)
    assert quickest_seconds(1024, 1e6, LINK) == tree_seconds(1024, 1e6, LINK) < ring_seconds(1024, 1e6, LINK)
    assert quickest_seconds(8, 1e9, LINK) == ring_seconds(8, 1e9, LINK) < tree_seconds(8, 1e9, LINK)


def test_efficiency_is_the_share_of_computing():
    assert efficiency(0.9, 0.1) == pytest.approx(0.9)


def test_a_link_is_fitted_to_timings():
    timings = [(n, size, ring_seconds(n, size, LINK)) for n in (2, 3) for size in (1e3, 1e5, 1e7, 1e8)]
    found = fit_link(timings)
    assert found.bandwidth_bytes_s == pytest.approx(1e9, rel=1e-6)
    assert found.latency_s == pytest.approx(1e-5, rel=1e-6)
    noisy = [(n, size, seconds * (1.1 if index % 2 else 0.9)) for index, (n, size, seconds) in enumerate(timings)]
    assert fit_link(noisy).bandwidth_bytes_s == pytest.approx(1e9, rel=0.15)
