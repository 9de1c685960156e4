"""How is a model trained? One loop for 1 or N ranks, gone on with where it stopped, ending in a scored best model."""

from __future__ import annotations

import json
import os
from pathlib import Path

from absl import logging

from bigearth_tf.config import TrainConfig, validate
from bigearth_tf.data.bands import Band
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.distributed import preflight
from bigearth_tf.distributed.consensus import run_on_all_ranks
from bigearth_tf.distributed.replica import Replica, translate_peer_errors
from bigearth_tf.evaluation.metrics import selection_scores
from bigearth_tf.input.pipeline import steps_per_epoch
from bigearth_tf.input.shard_index import check_record_counts
from bigearth_tf.runs.record import CONFIG_NAME, RESULT_NAME, RunResult, make_run_settings, read_result
from bigearth_tf.runs.work_folder import claim
from bigearth_tf.training.loop import TrainingRun
from bigearth_tf.training.state import make_train_state

# What a run reads.
SPLITS = ("train", "val", "test")


def train(config: TrainConfig, workdir: str | os.PathLike, replica: Replica, *, profile: bool = False) -> RunResult:
    """Trains, evaluates the best checkpoint on the test split, writes `result.json`, and returns it.

    Args:
        config: The run.
        workdir: Its folder, one for all ranks.
        replica: This rank.
        profile: Whether a TensorBoard profile of a few steps is written.

    Raises:
        FileNotFoundError: The data set has no manifest, or lacks a shard.
        ValueError: The config does not fit the data, the ranks, or what the work folder already holds; the ranks
            disagree; or the loss is no longer finite.
        ConnectionError: Another rank is gone.
        Stopped: A signal asked the run to stop; it has saved where it stands.
    """
    workdir = Path(workdir)
    with translate_peer_errors(replica):
        run = _prepare(config, workdir, replica, profile)
        if run is None:
            logging.info("%s is complete; name another --workdir for another run.", workdir)
        else:
            with run.watchdog.watch(), run.stop_signal.listen():
                run.epochs()
                run.finish()
    result = read_result(workdir)
    if not isinstance(result, RunResult):
        raise ValueError(f"{workdir}: holds an imported model. Name another --workdir.")
    return result


def _prepare(config: TrainConfig, workdir: Path, replica: Replica, profile: bool) -> TrainingRun | None:
    """Returns the run, restored where it stopped; None where it is complete. Writes nothing before all is checked."""
    data, bands, steps = run_on_all_ranks(lambda: _check(config, replica), replica)
    manifest = data.manifest
    settings = make_run_settings(config, manifest, bands)
    complete = (workdir / RESULT_NAME).exists()
    preflight.check_same_config_and_data(settings.identity(), manifest, complete, replica)

    def take() -> None:
        if replica.is_chief or (workdir / CONFIG_NAME).exists():
            claim(workdir, settings)

    if complete:
        take()
        return None
    training = make_train_state(config, manifest, bands, steps * config.epochs, replica)
    # Only now, when nothing of the config can be wrong any more, is the folder taken for it.
    run_on_all_ranks(take, replica)
    identity = json.dumps(settings.identity(), sort_keys=True)
    return TrainingRun(config, workdir, replica, data, bands, steps, training, identity, profile)


def _check(config: TrainConfig, replica: Replica) -> tuple[ShardedDataset, tuple[Band, ...], int]:
    """Returns the data set, the bands to train on and the steps of an epoch, if config and data fit together."""
    validate(config)
    data = ShardedDataset.open(config.data.data_dir)
    allowed = selection_scores(data.label_kind)
    if config.best_metric not in allowed:
        raise ValueError(f"best_metric={config.best_metric!r}: unknown; allowed: {', '.join(allowed)}.")
    bands = data.select_bands(config.data.bands)
    for split in SPLITS:
        data.shards(split)
    steps = steps_per_epoch(data.manifest, config.global_batch_size, replica)
    per_rank = config.global_batch_size // replica.world_size
    if per_rank % config.optimizer.accumulate:
        raise ValueError(
            f"optimizer.accumulate={config.optimizer.accumulate} does not divide a rank's {per_rank} records."
        )
    check_record_counts(data)
    return data, bands, steps
