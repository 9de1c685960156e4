"""The training step is traced once and draws new numbers each time; every field of the config is read."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from bigearth_tf.config import DataConfig, OptimizerConfig, TrainConfig
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.input.pipeline import make_train_dataset
from bigearth_tf.input.shuffle_order import EpochPosition
from bigearth_tf.training.plan import RunPlan
from bigearth_tf.training.state import make_train_state
from bigearth_tf.training.step import Requests, _vary, make_train_step
from tests.support.paths import REPOSITORY
from tests.support.records import write_records

LIBRARY = REPOSITORY / "bigearth_tf"
NO_REQUESTS = Requests(tf.constant(0.0), tf.constant(0.0))


def make_config(folder, **changes):
    config = TrainConfig(
        model="wide_resnet_eca_b0",
        model_overrides="resolution_px=15, width=0.5, dropout=0.3",
        data=DataConfig(data_dir=str(folder), bands="RGB", shuffle_mb=2.0),
        global_batch_size=8,
    )
    return dataclasses.replace(config, **changes)


def make_step(folder, manifest, config):
    """Returns the state, its step, and the batches of an epoch."""
    dataset, bands = ShardedDataset(folder, manifest), manifest.select_bands("RGB")
    state = make_train_state(RunPlan(config, dataset, bands, world_size=1, steps_per_epoch=3), Replica())
    batches = make_train_dataset(
        dataset,
        bands,
        Replica(),
        EpochPosition(seed=0, epoch=0),
        global_batch_size=8,
        shuffle_mb=2.0,
    )
    return state, make_train_step(state, config, Replica()), list(batches)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    return folder, write_records(folder, {"train": 24})


def test_a_step_is_traced_once(data):
    config = make_config(data[0], optimizer=OptimizerConfig(ema_decay=0.9, clip_norm=1.0, accumulate=2))
    state, train_step, batches = make_step(*data, config)
    for step, batch in enumerate(batches):
        train_step(batch, tf.constant(step, tf.int64), NO_REQUESTS)
    assert train_step.experimental_get_tracing_count() == 1
    assert int(state.optimizer.iterations) == 3  # One update in each step, for any number of parts.


@pytest.mark.parametrize(("augment", "mixup_alpha"), [(True, 0.0), (False, 0.3)])
def test_augmentation_is_drawn_in_each_step_not_once_when_the_step_is_traced(data, augment, mixup_alpha):
    """Of a patch that no symmetry maps to itself, all eight variants occur, or many mixtures."""
    config = make_config(data[0], data=DataConfig(augment=augment, mixup_alpha=mixup_alpha))
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    patches = np.stack([pixels + 1000 * row for row in range(8)])
    batch = {"bands": {"B04": tf.constant(patches)}, "labels": tf.eye(8)}
    vary = tf.function(lambda step: _vary(batch, step, config, Replica())[0]["B04"][0])
    seen = [vary(tf.constant(step, tf.int64)).numpy() for step in range(60)]
    assert vary.experimental_get_tracing_count() == 1
    # Many shares of mixup are so near to 0 or 1 that rounding hides them.
    images = len({image.tobytes() for image in seen})
    assert images == 8 if augment else images > 40
    np.testing.assert_array_equal(vary(tf.constant(7, tf.int64)), seen[7])
    if augment:
        assert any((image == pixels).all() for image in seen)


def fields_of(config):
    for field in dataclasses.fields(config):
        yield field.name
        if dataclasses.is_dataclass(getattr(config, field.name)):
            yield from fields_of(getattr(config, field.name))


def test_every_field_of_the_config_is_read():
    """A field that is not read would have no effect."""
    sources = [path.read_text(encoding="utf-8") for path in LIBRARY.rglob("*.py") if path.name != "config.py"]
    unread = [name for name in fields_of(TrainConfig()) if not re.search(rf"\.{name}\b", "\n".join(sources))]
    # The command passes it to Horovod before there is a run.
    command = (LIBRARY.parent / "experiments" / "train.py").read_text(encoding="utf-8")
    assert [name for name in unread if f".{name}" not in command] == []
