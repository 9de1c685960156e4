"""Can people follow what a command says of itself, on a screen and in a log file?"""

import io
import sys

from bigearth_tf.runtime.progress import progress_bar


def test_progress_in_a_log_file_is_whole_lines(monkeypatch):
    """A line that is not ended stays in srun, and in the launcher, for as long as an epoch takes."""
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
