"""Compares two models on the same patches and tests whether their difference is significant.

    python -m experiments.compare --first=runs/a/evaluation/test --second=runs/b/evaluation/test

Each model is given by a folder that experiments.evaluate wrote, or by its predictions.parquet. A paired bootstrap over
patches yields the difference, its 95 % interval and its p-value.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from bigearth_tf.runtime.command import run_command

if TYPE_CHECKING:
    from bigearth_tf.evaluation.prediction_table import StoredPredictions

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
    # scikit-learn is loaded here: --help must not wait for it.
    from bigearth_tf.data.label_kind import THRESHOLD
    from bigearth_tf.evaluation.comparison import check_comparable, compare
    from bigearth_tf.evaluation.prediction_table import read_predictions
    from bigearth_tf.runtime.files import write_json_atomically

    paths = (_FIRST.value, _SECOND.value)
    first, second = map(read_predictions, paths)
    check_comparable(first, second)
    thresholds = (THRESHOLD, THRESHOLD)
    if _THRESHOLDS.value == "tuned":
        thresholds = tuple(_read_tuned_thresholds(path, stored) for path, stored in zip(paths, (first, second)))
    found = compare(first, second, _METRIC.value, thresholds=thresholds, draws=_DRAWS.value, seed=_SEED.value)
    found = {**found, "thresholds": _THRESHOLDS.value}
    print(f"{found['metric']} on {found['num_records']:,} patches, thresholds: {found['thresholds']}")
    print(f"first   {found['first']:.4f}  {paths[0]}")
    print(f"second  {found['second']:.4f}  {paths[1]}")
    print(
        f"second - first  {found['difference']:+.4f}, 95 % interval {found['low']:+.4f} ... {found['high']:+.4f}, "
        f"p = {found['p_value']:.4f} ({found['draws']:,} draws)"
    )
    verdict = "differ significantly" if found["p_value"] < 0.05 else "do not differ significantly"
    print(f"At the 5 % level the two models {verdict}.")
    if _OUTPUT.value:
        write_json_atomically(Path(_OUTPUT.value), found)


def _read_tuned_thresholds(path: str, stored: StoredPredictions) -> Any:
    """Returns the thresholds that the evaluation of a table tuned on the validation split, float32 [K].

    Raises:
        FileNotFoundError: There is no evaluation.json next to the table.
        ValueError: It has no tuned thresholds.
    """
    import numpy as np

    from bigearth_tf.evaluation.report import EVALUATION_NAME

    folder = path if os.path.isdir(path) else os.path.dirname(path)
    file = Path(folder) / EVALUATION_NAME
    if not file.exists():
        raise FileNotFoundError(f"{file}: missing; it contains the tuned thresholds. Use --thresholds=fixed.")
    classes = json.loads(file.read_text(encoding="utf-8"))["classes"]
    if not all("tuned" in classes[name] for name in stored.class_names):
        raise ValueError(f"{file}: has no tuned thresholds. Use --thresholds=fixed.")
    return np.array([classes[name]["tuned"]["threshold"] for name in stored.class_names], np.float32)


if __name__ == "__main__":
    run_command(main)
