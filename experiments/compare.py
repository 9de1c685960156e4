"""Compares two models on the same patches and tests whether their difference is significant.

    python -m experiments.compare --first=runs/a/evaluation/test --second=runs/b/evaluation/test

Each model is given by a folder that experiments.evaluate wrote, or by its predictions.parquet. A paired bootstrap over
patches yields the difference, its 95 % interval and its p-value.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.preconditions import require_writable

_FIRST = flags.DEFINE_string("first", None, "Folder of an evaluation, or its predictions.parquet.", required=True)
_SECOND = flags.DEFINE_string("second", None, "The same of another model, on the same patches.", required=True)
_METRIC = flags.DEFINE_string("metric", "macro_f1", "Score to compare, such as micro_f1 or macro_average_precision.")
_THRESHOLDS = flags.DEFINE_enum(
    "thresholds", "fixed", ["fixed", "tuned"], "fixed: 0.5; tuned: those of the evaluation.json next to each table."
)
_DRAWS = flags.DEFINE_integer("draws", 1000, "Draws of the bootstrap.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write the comparison to as well.")


def main() -> None:
    """Compares the models; prints the result, and writes it if --output is given."""
    if _OUTPUT.value:
        require_writable(Path(_OUTPUT.value).absolute().parent)
    # pyarrow is loaded here: --help must not wait for it.
    from bigearth_tf.evaluation.comparison import compare_evaluations, format_comparison
    from bigearth_tf.runtime.files import write_json_atomically

    paths = (_FIRST.value, _SECOND.value)
    found = compare_evaluations(paths, _METRIC.value, _THRESHOLDS.value, draws=_DRAWS.value, seed=_SEED.value)
    print(format_comparison(found, paths))
    if _OUTPUT.value:
        Path(_OUTPUT.value).absolute().parent.mkdir(parents=True, exist_ok=True)
        write_json_atomically(Path(_OUTPUT.value), found)


if __name__ == "__main__":
    run_command(main)
