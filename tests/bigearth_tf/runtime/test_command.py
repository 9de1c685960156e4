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
