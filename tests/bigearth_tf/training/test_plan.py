"""The plan of a run: train and submit refuse the same configs with the same message, and write nothing."""

import dataclasses

import pytest

from bigearth_tf.config import DataConfig, TrainConfig
from bigearth_tf.distributed.replica import Replica
from bigearth_tf.training.plan import RunPlan, check_without_data, plan_run
from bigearth_tf.training.resolve_config import resolve_config
from bigearth_tf.training.train import train
from slurm.feasibility import check_training
from tests.support.records import write_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    write_records(folder, {"train": 32, "val": 8, "test": 5})
    return folder


def make_config(records, changes):
    config = TrainConfig(
        model_overrides="resolution_px=15, width=0.5",
        data=DataConfig(data_dir=str(records), bands="RGB"),
        global_batch_size=8,
        best_metric="micro_f1",
    )
    for name, value in changes.items():
        *parents, field = name.split(".")
        setattr(getattr(config, parents[0]) if parents else config, field, value)
    return config


# What is wrong with the config alone, and with the config for these data.
WITHOUT_DATA = [
    (1, {"epochs": 0}, "epochs"),
    (1, {"model": "resnet5"}, "Unknown model 'resnet5'; did you mean resnet50"),
    (1, {"model_overrides": "depht=3"}, "has no field 'depht'"),
    (1, {"model_overrides": "depth=11"}, "6 N"),
    (1, {"model_overrides": "depth"}, "expected keywords with literal values"),
    (1, {"optimizer.name": "lion"}, "optimizer.name='lion': unknown; allowed: adam, adamw, sgd, lamb"),
    (1, {"optimizer.weight_decay": 0.1}, "adam has none; choose adamw or lamb"),
    (1, {"schedule.scale": 2.0}, "schedule.scale=2.0 is read only with schedule.scaling=explicit"),
    (
        1,
        {"optimizer.accumulate": 3},
        "among 1 rank in 3 parts .*nearest that can: --config.global_batch_size=6 or .*=9",
    ),
    (1, {"global_batch_size": 9, "data.mixup_alpha": 0.3}, "each rank needs an even number, not 9"),
    (3, {}, "cannot be divided among 3 ranks; the nearest that can: --config.global_batch_size=6 or .*=9"),
    (4, {"optimizer.accumulate": 4}, "among 4 ranks in 4 parts .*nearest that can: --config.global_batch_size=16"),
    (8, {"data.mixup_alpha": 0.3}, "each rank needs an even number, not 1"),
    (3, {"global_batch_size": 24, "communication.reduction": "adasum"}, "needs 1, 2, 4, 8, ... ranks, not 3"),
]
WITH_DATA = [
    (6, {"global_batch_size": 12}, "6 ranks, but the split test has 5 records; ask for fewer ranks"),
    (1, {"global_batch_size": 64}, "global_batch_size=64 is more than the 32 training records"),
    (1, {"data.bands": "S1"}, "VV"),
    (1, {"best_metric": "speed"}, "best_metric='speed': unknown; allowed: auto, micro_precision"),
    (
        1,
        {"best_metric": "accuracy"},
        "best_metric='accuracy': a score of single-label data, and these are multi-label data",
    ),
    (1, {"loss.name": "softmax"}, "loss.name='softmax' does not fit multi-label data"),
    (1, {"epochs": 3, "schedule.warmup_steps": 12}, "leaves nothing of a run of 12 steps"),
]


def message_of(error_type, action):
    with pytest.raises(error_type) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize(("ranks", "changes", "message"), WITHOUT_DATA + WITH_DATA)
def test_train_and_submit_refuse_in_the_same_words(records, tmp_path, ranks, changes, message):
    def submit():
        check_training(make_config(records, changes), tmp_path / "run", [ranks], converted_before=False)

    def plan():  # This is the first thing that a rank of a run does.
        plan_run(make_config(records, changes), ranks)

    with pytest.raises(ValueError, match=message):
        submit()
    said = message_of(ValueError, submit)
    assert said == message_of(ValueError, plan)
    if ranks == 1:
        assert said == message_of(ValueError, lambda: train(make_config(records, changes), tmp_path / "run", Replica()))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("ranks", "changes", "message"), WITHOUT_DATA)
def test_what_needs_no_data_is_refused_before_the_conversion_in_the_same_words(tmp_path, ranks, changes, message):
    config = make_config(tmp_path / "not_yet", changes)

    def submit():
        check_training(config, tmp_path / "run", [ranks], converted_before=True)

    with pytest.raises(ValueError, match=message):
        submit()
    assert message_of(ValueError, submit) == message_of(ValueError, lambda: check_without_data(config, ranks))
    assert message_of(ValueError, submit) == message_of(ValueError, lambda: plan_run(config, ranks))


@pytest.mark.parametrize("damage", ["no data set", "no shard", "no split", "a shard is cut short", "too few records"])
def test_data_that_do_not_fit_are_refused_in_the_same_words(tmp_path, damage):
    splits = {"train": 8, "val": 8, "test": 8}
    if damage == "no split":
        del splits["test"]
    manifest = write_records(tmp_path / "records", splits)
    shard = tmp_path / "records" / manifest.split_shards("val")[0].name
    if damage == "no shard":
        shard.unlink()
    elif damage == "a shard is cut short":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "too few records":  # Of the right size: its first record pretends to be larger.
        content = bytearray(shard.read_bytes())
        content[1] ^= 1
        shard.write_bytes(content)
    config = make_config(tmp_path / ("nowhere" if damage == "no data set" else "records"), {})

    def submit():
        check_training(config, tmp_path / "run", [1], converted_before=False)

    said = message_of((ValueError, FileNotFoundError), submit)
    assert said == message_of((ValueError, FileNotFoundError), lambda: train(config, tmp_path / "run", Replica()))
    assert not (tmp_path / "run").exists()


def test_a_plan_has_what_follows_from_config_and_data(records):
    config = make_config(records, {"epochs": 5})
    plan = plan_run(config, 2)
    assert isinstance(plan, RunPlan)
    assert (plan.world_size, plan.steps_per_epoch, plan.total_steps) == (2, 4, 20)
    assert [band.name for band in plan.bands] == ["B04", "B03", "B02"]
    assert plan.dataset.folder == records
    assert dataclasses.asdict(plan.config) == dataclasses.asdict(resolve_config(config, plan.dataset.manifest))
    assert (plan.config.loss.name, config.loss.name) == ("binary_cross_entropy", "auto")
