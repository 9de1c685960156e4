"""Searches for the coefficients of compound scaling on a grid, by training and comparing each network.

    python -m experiments.search_scaling --config=experiments/configs/benchmark.py
    python -m experiments.search_scaling --config=experiments/configs/benchmark.py --data_dir=records --workdir=search

As for EfficientNet (https://arxiv.org/abs/1905.11946, section 3.3): with phi = 1, the candidates are all alpha, beta
and gamma of the grid for which alpha x beta^2 x gamma^2 is about 2 and the network has at most twice the base's FLOPs.
Without --data_dir, or with --dry_run, prints the candidates. Otherwise trains each by the config in its own folder in
--workdir, writes WORKDIR/search.csv and prints the ranking. The same command resumes a search.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags, logging

from bigearth_tf.config import AUTO, parse_overrides
from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.runtime.command import run_command
from bigearth_tf.training.resolve_config import resolve_config
from experiments.shared.config_flag import define_config
from experiments.shared.early_checks import check_before_tensorflow
from experiments.shared.table_text import to_csv

if TYPE_CHECKING:
    from bigearth_tf.config import TrainConfig
    from bigearth_tf.distributed.replica import Replica
    from bigearth_tf.models.scaling_search import Candidate, Coefficients

_CONFIG = define_config("Its model is the base (phi = 0).", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest to train on.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the search; needed for training.")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Only print the candidates.")
_STEP = flags.DEFINE_float("step", 0.1, "Step of the grid of alpha, beta and gamma.", lower_bound=0.01)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0.1, "How far alpha x beta^2 x gamma^2 may be from 2, as a fraction of 2.", lower_bound=0.0
)
_FLOPS_BUDGET = flags.DEFINE_float("flops_budget", 2.0, "Most FLOPs of a candidate, as a multiple of the base's.")
# Sides grow by 10 px and depth by 6 layers. With 0.1 no deeper network would fit: 16 layers have 2.24 x the FLOPs.
_FLOPS_TOLERANCE = flags.DEFINE_float(
    "flops_tolerance", 0.25, "How far a candidate may exceed the budget, as a fraction of it.", lower_bound=0.0
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 19, "Number of classes for which costs are computed.", lower_bound=1)

SEARCH_NAME = "search.csv"
# Validation scores of each trained candidate, by its name.
Scores = dict[str, dict[str, float]]


def train_all(config: TrainConfig, candidates: list[Candidate], workdir: Path, replica: Replica) -> Scores:
    """Trains the candidates one after another, updates `search.csv` after each, and returns their scores."""
    import keras

    from bigearth_tf.runtime.files import write_text_atomically
    from bigearth_tf.training import train

    scores: Scores = {}
    for index, candidate in enumerate(candidates, start=1):
        if replica.is_chief:
            logging.info("candidate %d of %d: %s", index, len(candidates), candidate.name)
        overrides = ", ".join(f"{field}={value!r}" for field, value in candidate.overrides.items())
        own_config = dataclasses.replace(config, model_overrides=overrides)
        scores[candidate.name] = train.train(own_config, workdir / candidate.name, replica).val
        keras.backend.clear_session()
        if replica.is_chief:
            ranking = _rank(config.best_metric, candidates[:index], scores)
            write_text_atomically(workdir / SEARCH_NAME, _format_csv(config.best_metric, ranking, scores))
    return scores


def _rank(metric: str, candidates: list[Candidate], scores: Scores) -> list[Candidate]:
    """Returns the candidates from the best to the worst score; of equal scores, the lower FLOPs first."""
    return sorted(candidates, key=lambda candidate: (-scores[candidate.name][metric], candidate.cost.flops))


def _format_csv(metric: str, ranking: list[Candidate], scores: Scores) -> str:
    rows = []
    for candidate in ranking:
        (alpha, beta, gamma), *others = candidate.coefficients
        row = {
            "name": candidate.name,
            "alpha": alpha,
            "beta": beta,
            "gamma": gamma,
            **{field: candidate.overrides[field] for field in ("depth", "width", "resolution_px")},
            "parameters": candidate.cost.parameters,
            "flops": candidate.cost.flops,
            f"val_{metric}": round(scores[candidate.name][metric], 6),
            "same_network": "; ".join(map(_format, others)),
        }
        rows.append({column: str(value) for column, value in row.items()})
    return to_csv({column: (column, "---") for column in rows[0]}, rows)


def _format(coefficients: Coefficients) -> str:
    return " ".join(f"{value:g}" for value in coefficients)


def print_candidates(base: Candidate, candidates: list[Candidate]) -> None:
    """Prints one line for each network, the base first."""
    print(f"{'network':<26}{'parameters':>12}{'GFLOPs':>8}{'x base':>8}{'px':>7}  alpha beta gamma")
    for candidate in (base, *candidates):
        cost = candidate.cost
        print(
            f"{candidate.name:<26}{cost.parameters:>12,}{cost.flops / 1e9:>8.3f}{cost.flops / base.cost.flops:>8.2f}"
            f"{candidate.overrides['resolution_px']:>7}  {', '.join(map(_format, candidate.coefficients))}"
        )


def print_ranking(metric: str, ranking: list[Candidate], scores: Scores) -> None:
    """Prints one line for each trained candidate, and the best coefficients."""
    for rank, candidate in enumerate(ranking, start=1):
        score = scores[candidate.name][metric]
        print(f"{rank:>3}. val {metric} {score:.4f}  {candidate.name}  {_format(candidate.coefficients[0])}")
    print("best alpha, beta, gamma: " + ", or ".join(map(_format, ranking[0].coefficients)))


def main() -> None:
    """Prints the candidates, and trains and ranks them if there is data."""
    config, workdir = _CONFIG.value, Path(_WORKDIR.value or "")
    is_training = bool(_DATA_DIR.value) and not _DRY_RUN.value
    if is_training and not _WORKDIR.value:
        raise ValueError("Name the folder of the search with --workdir, or print only the candidates with --dry_run.")
    num_bands = len(get_bands("S2" if config.data.bands == AUTO else config.data.bands))
    if is_training:
        config.data.data_dir = _DATA_DIR.value
        check_before_tensorflow(config, workdir)
        manifest = read_manifest(config.data.data_dir)
        config = resolve_config(config, manifest)
        num_bands = len(manifest.select_bands(config.data.bands))
    from bigearth_tf.models.scaling_search import CandidateSearch, SearchSpace

    overrides = parse_overrides(config.model_overrides)
    search = CandidateSearch(config.model, overrides, num_bands, _NUM_CLASSES.value)
    candidates = search.find(SearchSpace(_STEP.value, _TOLERANCE.value, _FLOPS_BUDGET.value, _FLOPS_TOLERANCE.value))
    if not is_training:
        print_candidates(search.base, candidates)
        return
    from bigearth_tf.distributed import preflight
    from bigearth_tf.distributed.consensus import exit_if_ranks_differ
    from bigearth_tf.distributed.folder_lock import lock_folder
    from bigearth_tf.distributed.replica import start_replica

    with exit_if_ranks_differ():
        replica = start_replica(config.communication.fusion_mb)
        preflight.run_preflight(replica)
        if replica.is_chief:
            print_candidates(search.base, candidates)
        with lock_folder(workdir, replica):
            scores = train_all(config, candidates, workdir, replica)
    if replica.is_chief:
        print_ranking(config.best_metric, _rank(config.best_metric, candidates, scores), scores)
        print(f"wrote {os.path.join(workdir, SEARCH_NAME)}")


if __name__ == "__main__":
    run_command(main)
