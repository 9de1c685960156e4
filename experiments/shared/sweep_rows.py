"""The rows of a sweep's table: one for each finished run."""

from __future__ import annotations

from pathlib import Path

from bigearth_tf.evaluation.metric_table import MAIN_SCORES, title_of
from bigearth_tf.runs.record import RESULT_NAME, RunResult, read_result, read_settings

# Column -> its title and alignment in Markdown. The CSV has all other scores of the test split as well.
COLUMNS = {
    "model": ("model", "---"),
    "parameters": ("parameters", "---:"),
    "best_epoch": ("best epoch", "---:"),
    "chosen_by": ("chosen by", "---"),
    "val_score": ("its validation score", "---:"),
    **{f"test_{name}": (f"test {title_of(name)}", "---:") for name in MAIN_SCORES},
    "train_seconds": ("training, s", "---:"),
}


def make_rows(workdir: Path) -> list[dict[str, str]]:
    """Returns a row for each finished run, the best validation score first.

    Raises:
        FileNotFoundError: No run is finished.
        ValueError: A run is an imported model, or this version cannot read its files.
    """
    found = []
    for path in sorted(workdir.glob(f"*/{RESULT_NAME}")):
        result, best_metric = read_result(path.parent), read_settings(path.parent).config.best_metric
        if not isinstance(result, RunResult):
            raise ValueError(f"{path}: an imported model has no scores. Move its folder out of the sweep.")
        found.append((result.val[best_metric], _row(result, best_metric)))
    if not found:
        raise FileNotFoundError(f"{workdir}: contains no folder with a result.json; no run of the sweep is finished.")
    return [row for _, row in sorted(found, key=lambda pair: (-pair[0], pair[1]["model"]))]


def _row(result: RunResult, best_metric: str) -> dict[str, str]:
    return {
        **dict.fromkeys(COLUMNS, ""),
        "model": result.model,
        "parameters": str(result.num_parameters),
        "best_epoch": str(result.best_epoch),
        "chosen_by": best_metric,
        "val_score": f"{result.val[best_metric]:.4f}",
        "train_seconds": f"{result.train_seconds:.1f}",
        **{f"test_{name}": f"{value:.4f}" for name, value in result.test.items()},
    }
