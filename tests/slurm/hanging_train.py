"""experiments.train in which rank 1 hangs after its third step, as if the file system did not answer."""

import runpy
import time

from bigearth_tf.training import train as train_module
from bigearth_tf.training.hooks import Hook

train = train_module.train


def hang_here():
    time.sleep(1000)


class Hang(Hook):
    """Hangs on rank 1 after step 3."""

    def __init__(self, replica):
        self.replica = replica

    def after_execution(self, execution):
        if self.replica.rank == 1 and execution.last_step == 3:
            hang_here()


def train_and_hang(config, workdir, replica, **options):
    return train(config, workdir, replica, hooks=[Hang(replica)], **options)


train_module.train = train_and_hang
runpy.run_module("experiments.train", run_name="__main__", alter_sys=True)
