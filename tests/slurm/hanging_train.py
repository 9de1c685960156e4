"""experiments.train in which rank 1 hangs in its third step, as when a file system does not respond."""

import runpy
import time

from bigearth_tf.training.loop import TrainingRun

note = TrainingRun._note


def hang_here():
    time.sleep(1000)


def note_or_hang(self, *arguments):
    note(self, *arguments)
    if self.replica.rank == 1 and int(self.progress.step) == 3:
        hang_here()


TrainingRun._note = note_or_hang
runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)
