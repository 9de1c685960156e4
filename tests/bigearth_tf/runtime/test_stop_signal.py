"""Tests that a run notices each signal that asks it to stop, and ignores those that its shell ignores."""

import os
import signal

import pytest

from bigearth_tf.runtime.stop_signal import StopSignal
from tests.support import warm_python
from tests.support.paths import REPOSITORY


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP"])
def test_each_signal_is_received_and_handled_as_before_afterwards(name):
    number = signal.Signals[name]
    before, stop = signal.getsignal(number), StopSignal()
    with stop.listen():
        os.kill(os.getpid(), number)
        assert stop.received == name
    assert signal.getsignal(number) is before


def test_a_second_interrupt_ends_at_once(capfd):
    stop = StopSignal()
    with pytest.raises(KeyboardInterrupt), stop.listen():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert "Press Ctrl+C again to end at once" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == "SIGTERM"


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_what_nohup_ignores_stays_ignored(name):
    before = signal.signal(signal.Signals[name], signal.SIG_IGN)
    try:
        stop = StopSignal()
        with stop.listen():
            os.kill(os.getpid(), signal.Signals[name])
            assert stop.received is None
    finally:
        signal.signal(signal.Signals[name], before)


def test_a_command_whose_run_has_stopped_says_in_one_line_how_to_continue():
    script = (
        "from bigearth_tf.runtime.command import run_command\n"
        "from bigearth_tf.runtime.stop_signal import Stopped\n"
        "def main():\n    raise Stopped('saved after step 3.')\n"
        "run_command(main)"
    )
    result = warm_python.run(
        ["-c", script], modules=warm_python.LIGHT_MODULES, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert result.returncode == 75
    (line,) = result.stderr.splitlines()
    assert line.endswith(" saved after step 3. Run the same command again to resume.")
