"""Trains a model on TFRecords, evaluates its best checkpoint on the test split, and writes `result.json`.

    python -m experiments.train --config=experiments/configs/demo.py --workdir=runs/demo/train

Run it again on the same work folder to resume a run that stopped. Fields of the config are overridden by
`--config.field=value`; `--help` explains each.
"""

from __future__ import annotations

import os

from absl import flags

from bigearth_tf.runtime.command import run_command
from experiments.shared.config_flag import define_config
from experiments.shared.early_checks import check_before_tensorflow

_CONFIG = define_config("The run follows it.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: config, checkpoints, logs, result.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest, in place of the config's.")
_PROFILE = flags.DEFINE_bool("profile", False, "Write a TensorBoard profile of a few early steps.")
_STAGE_DIR = flags.DEFINE_string(
    "stage_dir", "", "Folder on each host's own disk, such as $SLURM_TMPDIR, to which the shards are copied first."
)
_KEEP_STAGED = flags.DEFINE_bool("keep_staged", False, "Keep that copy for a later run.")


def main() -> None:
    """Trains, and prints the scores."""
    config = _CONFIG.value
    config.data.data_dir = data_dir = _DATA_DIR.value or config.data.data_dir
    check_before_tensorflow(config, _WORKDIR.value)
    # TensorFlow is loaded here, because --help and wrong flags must not wait for it.
    from bigearth_tf.distributed import preflight
    from bigearth_tf.distributed.consensus import exit_if_ranks_differ
    from bigearth_tf.distributed.replica import start_replica
    from bigearth_tf.evaluation.metrics import format_classes_without_records, format_main_scores
    from bigearth_tf.input.staging import stage_dataset
    from bigearth_tf.runs.record import RESULT_NAME
    from bigearth_tf.training.resolve_config import SPLITS
    from bigearth_tf.training.train import train

    with (
        exit_if_ranks_differ(),
        # Before Horovod starts, whose time limits are shorter than copying may take.
        stage_dataset(data_dir, _STAGE_DIR.value, SPLITS, keep=_KEEP_STAGED.value) as folder,
    ):
        config.data.data_dir = folder
        replica = start_replica(config.communication.fusion_mb)
        preflight.run_preflight(replica, _STAGE_DIR.value and folder)
        result = train(config, _WORKDIR.value, replica, profile=_PROFILE.value)
    if replica.is_chief:
        constant = result.always_most_frequent_labels
        print(f"{result.model}: {result.num_parameters:,} parameters, best epoch {result.best_epoch}")
        print(f"test {format_main_scores(result.test)}")
        missing = result.classes_without_records.get("test", ())
        if missing:
            print(format_classes_without_records(missing, len(result.test_classes), "test"))
        print(f"always predicting the {len(constant.labels)} most frequent labels: {format_main_scores(constant.test)}")
        print(f"wrote {os.path.join(_WORKDIR.value, RESULT_NAME)}")


if __name__ == "__main__":
    run_command(main)
