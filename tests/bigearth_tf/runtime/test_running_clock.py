"""Tests that a clock does not count the time in which its process did not run."""

import time

from bigearth_tf.runtime.running_clock import RunningClock


def test_of_a_long_time_between_two_ticks_only_the_longest_time_of_a_running_process_counts():
    clock = RunningClock(longest_s=0.01)
    time.sleep(0.05)
    assert clock.tick() == clock.seconds == 0.01
    time.sleep(0.05)
    assert clock.tick() == 0.02


def test_ticks_of_a_running_process_add_up():
    clock, started = RunningClock(longest_s=1000), time.monotonic()
    for _ in range(3):
        time.sleep(0.01)
        clock.tick()
    assert 0.03 <= clock.seconds <= time.monotonic() - started
