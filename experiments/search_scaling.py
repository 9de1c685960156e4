"""Searches for the coefficients of compound scaling on a grid, by training and comparing each network.

    python -m experiments.search_scaling --config=experiments/configs/benchmark.py
    python -m experiments.search_scaling --config=experiments/configs/benchmark.py --data_dir=records --workdir=search

As for EfficientNet (https://arxiv.org/abs/1905.11946, section 3.3): with phi = 1, the candidates are all alpha, beta
and gamma of the grid for which alpha x beta^2 x gamma^2 is about 2 and the network has at most twice the base's FLOPs.
Without --data_dir, or with --dry_run, prints the candidates. Otherwise trains each by the config in its own folder in
--workdir, writes WORKDIR/search.csv and prints the ranking. Started again, it resumes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging
from ml_collections import config_flags

from bigearth_tf.runtime.command import run_command

if TYPE_CHECKING:
    from bigearth_tf.config import TrainConfig
    from bigearth_tf.distributed.replica import Replica
    from bigearth_tf.models.cost import Cost
    from bigearth_tf.models.families import wide_resnet

_CONFIG = config_flags.DEFINE_config_file("config", None, "File with a get_config(); its model is the base (phi = 0).")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest to train on.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the search; needed for training.")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Only print the candidates.")
_STEP = flags.DEFINE_float("step", 0.1, "Step of the grid of alpha, beta and gamma.", lower_bound=0.01)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0.1, "How far alpha x beta^2 x gamma^2 may be from 2, as a fraction of 2.", lower_bound=0.0
)
_FLOPS_BUDGET = flags.DEFINE_float("flops_budget", 2.0, "Most FLOPs of a candidate, as a multiple of the base's.")
# Sides grow by 10 px and depth by 6 layers. With 0.1 no deeper network would be a candidate: 16 layers have 2.24 x.
_FLOPS_TOLERANCE = flags.DEFINE_float(
    "flops_tolerance", 0.25, "How far a candidate may exceed the budget, as a fraction of it.", lower_bound=0.0
)
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 19, "Number of classes for which costs are computed.", lower_bound=1)
flags.mark_flag_as_required("config")

SEARCH_NAME = "search.csv"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network to train.

    Attributes:
        name: From its depth, width and resolution.
        overrides: Fields of the model's config.
        cost: Parameters and FLOPs.
        coefficients: All (alpha, beta, gamma) that lead to this network, the best match first.
    """

    name: str
    overrides: dict[str, Any]
    cost: Cost
    coefficients: tuple[tuple[float, float, float], ...]


def find_candidates(config: TrainConfig) -> tuple[Candidate, list[Candidate]]:
    """Returns the base, and the different networks of the grid within the budget in order of FLOPs.

    Raises:
        ValueError: The model has no such scaling, its overrides set what the search varies, or there is no candidate.
    """
    from bigearth_tf.config import parse_overrides
    from bigearth_tf.models.families import wide_resnet
    from bigearth_tf.models.registry import model_config
    from bigearth_tf.models.scaling import coefficient_grid

    overrides = parse_overrides(config.model_overrides)
    fixed = sorted({"depth", "width", "resolution_px"} & set(overrides))
    if fixed:
        raise ValueError(f"config.model_overrides sets {', '.join(fixed)}, which the search varies; leave it out.")
    if not isinstance(model_config(config.model, **overrides), wide_resnet.Config):
        raise ValueError(f"config.model={config.model!r}: only WideResNets are searched; name one of wide_resnet_*.")
    merged: dict[Any, list[tuple[float, float, float]]] = {}
    for coefficients in coefficient_grid(_STEP.value, tolerance=_TOLERANCE.value):
        grown = _grown(config, coefficients)
        channels = [wide_resnet.round_to_4(base * grown.width) for base, _ in wide_resnet.STAGES]
        merged.setdefault((grown.depth, grown.resolution_px, *channels), []).append(coefficients)
    base = _candidate(config, [(1.0, 1.0, 1.0)])
    limit = base.cost.flops * _FLOPS_BUDGET.value * (1 + _FLOPS_TOLERANCE.value)
    found = [_candidate(config, same_network) for same_network in merged.values()]
    within = sorted((c for c in found if c.cost.flops <= limit), key=lambda c: (c.cost.flops, c.name))
    if not within:
        raise ValueError(
            f"None of {len(found)} networks of the grid is within the budget; give a finer --step, or a larger "
            "--tolerance, --flops_budget or --flops_tolerance."
        )
    logging.info(
        "%d coefficients give %d networks, %d of them within %.3g GFLOPs.",
        sum(map(len, merged.values())), len(found), len(within), limit / 1e9,
    )  # fmt: skip
    return base, within


def _grown(config: TrainConfig, coefficients: tuple[float, float, float]) -> wide_resnet.Config:
    """Returns the model's config at phi = 1; the coefficients of the grid meet the constraint."""
    from bigearth_tf.config import parse_overrides
    from bigearth_tf.models.families import wide_resnet
    from bigearth_tf.models.registry import model_config
    from bigearth_tf.models.scaling import Scaling

    base = model_config(config.model, **parse_overrides(config.model_overrides))
    return wide_resnet.scaled(base, Scaling(*coefficients))


def _candidate(config: TrainConfig, coefficients: list[tuple[float, float, float]]) -> Candidate:
    from bigearth_tf.config import parse_overrides
    from bigearth_tf.data.bands import get_bands
    from bigearth_tf.models.cost_estimate import estimate

    grown = _grown(config, coefficients[0])
    fields = {"depth": grown.depth, "width": round(grown.width, 9), "resolution_px": grown.resolution_px}
    overrides = {**parse_overrides(config.model_overrides), **fields}
    cost = estimate(grown, len(get_bands(config.data.bands)), _NUM_CLASSES.value)
    name = f"depth{grown.depth}_width{fields['width']:g}_{grown.resolution_px}px"
    return Candidate(name, overrides, cost, tuple(coefficients))


def train_all(
    config: TrainConfig, candidates: list[Candidate], workdir: Path, replica: Replica
) -> dict[str, dict[str, float]]:
    """Trains the candidates in turn, writes `search.csv` after each, and returns name -> validation scores."""
    import keras

    from bigearth_tf.runtime.files import write_text_atomically
    from bigearth_tf.training import train

    scores: dict[str, dict[str, float]] = {}
    for index, candidate in enumerate(candidates, start=1):
        if replica.is_chief:
            logging.info("candidate %d of %d: %s", index, len(candidates), candidate.name)
        overrides = ", ".join(f"{field}={value!r}" for field, value in candidate.overrides.items())
        own = dataclasses.replace(config, model_overrides=overrides)
        scores[candidate.name] = train.train(own, workdir / candidate.name, replica).val
        keras.backend.clear_session()
        if replica.is_chief:
            done = candidates[:index]
            write_text_atomically(workdir / SEARCH_NAME, _table(config.best_metric, done, scores))
    return scores


def _table(best_metric: str, candidates: list[Candidate], scores: dict[str, dict[str, float]]) -> str:
    """Returns the trained candidates as CSV, the best first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["name", "alpha", "beta", "gamma", "depth", "width", "resolution_px", "parameters", "flops",
         f"val_{best_metric}", "same_network"]
    )  # fmt: skip
    for candidate in _ranked(best_metric, candidates, scores):
        best, *others = candidate.coefficients
        fields = [candidate.overrides[field] for field in ("depth", "width", "resolution_px")]
        cost = candidate.cost
        score = round(scores[candidate.name][best_metric], 6)
        writer.writerow(
            [candidate.name, *best, *fields, cost.parameters, cost.flops, score, "; ".join(map(_text, others))]
        )
    return file.getvalue()


def _ranked(best_metric: str, candidates: list[Candidate], scores: dict[str, dict[str, float]]) -> list[Candidate]:
    """Returns the candidates in order of score; with equal scores the cheaper network is first."""
    return sorted(candidates, key=lambda c: (-scores[c.name][best_metric], c.cost.flops))


def _text(coefficients: tuple[float, float, float]) -> str:
    return " ".join(f"{value:g}" for value in coefficients)


def _line(candidate: Candidate, base: Candidate) -> str:
    coefficients = ", ".join(map(_text, candidate.coefficients))
    times = f"{candidate.cost.flops / base.cost.flops:.2f}"
    return (
        f"{candidate.name:<26}{candidate.cost.parameters:>12,}{candidate.cost.flops / 1e9:>8.3f}{times:>8}"
        f"{candidate.overrides['resolution_px']:>7}  {coefficients}"
    )


def main() -> None:
    """Prints the candidates; trains and ranks them if there are data."""
    config, workdir = _CONFIG.value, Path(_WORKDIR.value or "")
    training = bool(_DATA_DIR.value) and not _DRY_RUN.value
    if training and not _WORKDIR.value:
        raise ValueError("Name the folder of the search with --workdir, or print only the candidates with --dry_run.")
    base, candidates = find_candidates(config)
    if not training:
        _print_table(base, candidates)
        return
    from bigearth_tf.distributed.replica import start_replica

    config.data.data_dir = _DATA_DIR.value
    replica = start_replica()
    if replica.is_chief:
        _print_table(base, candidates)
    scores = train_all(config, candidates, workdir, replica)
    if replica.is_chief:
        ranking = _ranked(config.best_metric, candidates, scores)
        for rank, candidate in enumerate(ranking, start=1):
            score = scores[candidate.name][config.best_metric]
            print(
                f"{rank:>3}. val {config.best_metric} {score:.4f}  {candidate.name}  {_text(candidate.coefficients[0])}"
            )
        best = ranking[0]
        print("best alpha, beta, gamma: " + ", or ".join(map(_text, best.coefficients)))
        print(f"wrote {os.path.join(workdir, SEARCH_NAME)}")


def _print_table(base: Candidate, candidates: list[Candidate]) -> None:
    print(f"{'network':<26}{'parameters':>12}{'GFLOPs':>8}{'x base':>8}{'px':>7}  alpha beta gamma")
    for candidate in (base, *candidates):
        print(_line(candidate, base))


if __name__ == "__main__":
    run_command(main)
