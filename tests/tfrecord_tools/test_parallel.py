"""Work in several processes: results in order, arguments sent once per process, a clear error for a killed one."""

import functools
import operator
import os
import time

import pytest

from tfrecord_tools.parallel import map_in_processes, report_progress


class Counted:
    """An argument that arrives as the number 5 in another process, and counts how often it is sent."""

    def __init__(self):
        self.times_sent = 0

    def __reduce__(self):
        self.times_sent += 1
        return int, (5,)


def test_results_are_in_order_and_bound_arguments_are_sent_once_per_process():
    counted = Counted()
    add_five = functools.partial(operator.add, counted)
    assert list(map_in_processes(add_five, range(40), workers=2, chunk_size=3)) == list(range(5, 45))
    assert 1 <= counted.times_sent <= 2


@pytest.mark.parametrize("items", [[], [7]])
def test_one_item_or_none_needs_no_process(items):
    started_in = os.getpid()
    assert list(map_in_processes(lambda item: (item, os.getpid()), items, workers=2)) == [
        (i, started_in) for i in items
    ]


def report_then_wait(path):
    report_progress(3)
    while not os.path.exists(path):
        time.sleep(0.01)
    report_progress()
    return 1


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_arrives_while_the_items_are_worked_on(tmp_path, workers):
    """Each of two items waits until the calling process has heard of the first."""
    path, seen = tmp_path / "seen", []

    def on_progress(count):
        seen.append(count)
        path.touch()

    assert list(map_in_processes(report_then_wait, [path, path], workers, on_progress=on_progress)) == [1, 1]
    assert sum(seen) == 8
    assert len(seen) > 1


def report(count):
    for _ in range(count):
        report_progress()


def test_no_progress_is_lost():
    seen = []
    list(map_in_processes(report, [5000] * 20, 2, on_progress=seen.append))
    assert sum(seen) == 100_000


def test_a_killed_process_is_an_error_that_names_the_fix():
    with pytest.raises(OSError, match="A process was killed.*Run the same command to resume, with fewer --workers"):
        list(map_in_processes(os._exit, [1, 1], workers=2))
