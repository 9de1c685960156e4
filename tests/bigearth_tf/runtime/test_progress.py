"""Tests of progress bars in log files."""

import io
import sys

from bigearth_tf.runtime.progress import progress_bar


def test_progress_in_a_log_file_consists_of_complete_lines(monkeypatch):
    """srun and the launcher hold back a line without an end, here for the time of an epoch."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar(40, "epoch 1/2", "img", leave=False) as bar:
        begun = log.getvalue()
        bar.update(40)
    assert begun.startswith("epoch 1/2:   0%|")
    assert begun.endswith("\n")
    assert "40/40" in log.getvalue().splitlines()[-1]
    assert "\r" not in log.getvalue()
    assert "" not in log.getvalue().splitlines()


def test_the_first_update_is_shown_at_once_and_the_time_before_it_does_not_count(monkeypatch):
    """Processes start in that time: an estimate that counts it is several times too long."""
    log, now = io.StringIO(), [1000.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress_bar(1001, "convert", "patch") as bar:
        now[0] += 100  # Nothing is done yet.
        bar.update()
        assert "1/1001 [00:00<?" in log.getvalue().splitlines()[-1]
        now[0] += 40
        bar.update(400)
        assert "401/1001 [00:40<01:00, 10.00patch/s" in log.getvalue().splitlines()[-1]
        now[0] += 60
        bar.update(600)
    assert "1001/1001 [01:40<00:00, 10.00patch/s" in log.getvalue().splitlines()[-1]


def test_a_bar_with_one_update_shows_its_rate(monkeypatch):
    log, now = io.StringIO(), [1000.0]
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress_bar(40, "epoch", "img") as bar:
        now[0] += 4
        bar.update(40)
    assert "40/40 [00:04<00:00, 10.00img/s" in log.getvalue().splitlines()[-1]
