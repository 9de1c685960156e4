"""Trains a model on TFRecords, evaluates its best checkpoint on the test split, and writes `result.json`.

    python -m experiments.train --config=experiments/configs/demo.py --workdir=runs/demo/train

Started again on the same work folder, it goes on where it stopped. Fields of the config are overridden by
`--config.field=value`; bigearth_tf/config.py explains each.
"""

from __future__ import annotations

import os

from absl import flags
from ml_collections import config_flags

from bigearth_tf.runtime import run_command

_CONFIG = config_flags.DEFINE_config_file("config", None, "File with a get_config() that returns a TrainConfig.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: config, checkpoints, logs, result.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest, in place of the config's.")
flags.mark_flag_as_required("config")


def main() -> None:
    """Trains, as the config says."""
    # TensorFlow is loaded here: --help must not wait for it.
    from bigearth_tf import distributed, train
    from bigearth_tf.run_folder import RESULT_NAME

    config = _CONFIG.value
    if _DATA_DIR.value:
        config.data.data_dir = _DATA_DIR.value
    replica = distributed.start()
    result = train.train(config, _WORKDIR.value, replica)
    if replica.is_chief:
        test, constant = result["test"], result["always_most_frequent_labels"]
        print(f"{result['model']}: {result['num_parameters']:,} parameters, best epoch {result['best_epoch']}")
        print(f"test micro F1 {test['micro_f1']:.3f}, macro F1 {test['macro_f1']:.3f}")
        print(
            f"always predicting the {len(constant['labels'])} most frequent labels: "
            f"micro F1 {constant['test']['micro_f1']:.3f}, macro F1 {constant['test']['macro_f1']:.3f}"
        )
        print(f"wrote {os.path.join(_WORKDIR.value, RESULT_NAME)}")


if __name__ == "__main__":
    run_command(main)
