"""Tests of the lock on a folder that a run writes into, on one rank; test_ranks.py tests what several ranks share."""

import pytest

from bigearth_tf.distributed.folder_lock import lock_folder
from bigearth_tf.distributed.replica import Replica


def test_a_second_holder_is_refused_and_what_was_written_stays(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    folder = tmp_path / "new" / "run"
    with lock_folder(folder, Replica()):
        with (
            pytest.raises(ValueError, match=r"run: in use by process \d+ on \S+ since"),
            lock_folder(folder, Replica()),
        ):
            pass
        (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_new_folder_into_which_nothing_was_written_is_removed(tmp_path):
    with pytest.raises(RuntimeError), lock_folder(tmp_path / "run", Replica()):
        raise RuntimeError("nothing fits")
    assert not (tmp_path / "run").exists()
