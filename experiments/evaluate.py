"""Evaluates the best checkpoint of a finished run on a split, and writes a report.

    python -m experiments.evaluate --workdir=runs/demo/train --data_dir=runs/demo/records/synthetic
    horovodrun -np 2 python -m experiments.evaluate --workdir=... --data_dir=...

The data set may differ from that of the training, but it must have the model's classes and bands. Writes
predictions.parquet, evaluation.json, evaluation.md and plots, which do not depend on the number of ranks.
"""

from __future__ import annotations

from absl import flags

from bigearth_tf.runtime.command import run_command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run of experiments.train.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest to evaluate on.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "Split to evaluate on; thresholds are tuned on val.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write into; default: <workdir>/evaluation/<split>.")
_DRAWS = flags.DEFINE_integer("draws", 1000, "Draws of the bootstrap for F-scores and other ratios.", lower_bound=1)
_RANKING_DRAWS = flags.DEFINE_integer(
    "ranking_draws", 200, "Draws for average precision and AUROC, which take longer.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.")
_STAGE_DIR = flags.DEFINE_string(
    "stage_dir",
    "",
    "Folder on each host's own disk, such as $SLURM_TMPDIR, to which records are copied before they are read.",
)
_KEEP_STAGED = flags.DEFINE_bool("keep_staged", False, "Keep that copy for a later run.")


def main() -> None:
    """Evaluates on all ranks; rank 0 scores, writes the report and prints the main scores."""
    from experiments.shared.early_checks import check_evaluation_before_tensorflow

    check_evaluation_before_tensorflow(_WORKDIR.value, _DATA_DIR.value, _SPLIT.value, _OUTPUT.value)
    # TensorFlow is loaded here: --help and wrong flags must not wait for it.
    from bigearth_tf.distributed import preflight
    from bigearth_tf.distributed.consensus import exit_if_ranks_differ
    from bigearth_tf.distributed.replica import start_replica
    from bigearth_tf.evaluation.evaluate_run import evaluate_run
    from bigearth_tf.evaluation.metrics import format_classes_without_records, format_main_scores
    from bigearth_tf.evaluation.report import EvaluationOptions
    from bigearth_tf.input.staging import stage_dataset

    options = EvaluationOptions(_DRAWS.value, _RANKING_DRAWS.value, _SEED.value)
    with (
        exit_if_ranks_differ(),
        # Before Horovod starts: its start does not wait as long as copying may take.
        stage_dataset(_DATA_DIR.value, _STAGE_DIR.value, {_SPLIT.value, "val"}, keep=_KEEP_STAGED.value) as folder,
    ):
        replica = start_replica()
        preflight.run_preflight(replica, _STAGE_DIR.value and folder)
        report = evaluate_run(_WORKDIR.value, folder, _SPLIT.value, replica, _OUTPUT.value, options)
    if report:
        missing, classes = (report.evaluation[key] for key in ("classes_without_records", "classes"))
        for kind, decision in report.evaluation["decisions"].items():
            scores = {name: score["value"] for name, score in decision["scores"].items()}
            print(f"{_SPLIT.value}, {kind} thresholds: {format_main_scores(scores)}")
        if missing:
            print(format_classes_without_records(missing, len(classes), _SPLIT.value))
        print(f"wrote {report.folder}: {', '.join(report.files)}")


if __name__ == "__main__":
    run_command(main)
