"""Writes what every model of the zoo costs: `experiments/zoo.csv`, and the table of it in README.md.

    python -m experiments.zoo_table
    python -m experiments.zoo_table --check
    python -m experiments.zoo_table --models='wide_resnet_*'

Each is built in its default form, for the ten bands and 19 classes of the published benchmark, and counted by
bigearth_tf/models/cost.py; where there is a published form, that is built, too, for its parameters.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar
from experiments.shared.table_text import natural_order, to_csv, to_markdown

_MODELS = flags.DEFINE_string("models", "*", "Shell pattern of names; with fewer than all, rows are only printed.")
_CHECK = flags.DEFINE_boolean("check", False, "Write nothing; end with exit code 1 where a file says something else.")

REPOSITORY = Path(__file__).parent.parent
CSV_PATH = REPOSITORY / "experiments" / "zoo.csv"
README_PATH = REPOSITORY / "README.md"
MARKERS = ("<!-- zoo table: begin -->", "<!-- zoo table: end -->")

NUM_CLASSES = 19
# Column of the CSV -> title in the README, and where numbers and names stand.
COLUMNS = {
    "model": ("model", "---"),
    "published_name": ("published as", "---"),
    "family": ("family", "---"),
    "input_px": ("input, px", "---:"),
    "parameters": ("parameters", "---:"),
    "trainable": ("trainable", "---:"),
    "published_parameters": ("in published form", "---:"),
    "gflops": ("GFLOPs", "---:"),
    "activations_m": ("activations, 10^6", "---:"),
    "features": ("features", "---:"),
}


def build_row(name: str) -> dict[str, str]:
    """Returns the row of a model, which it builds once or twice."""
    from bigearth_tf.models.cost import cost_of
    from bigearth_tf.models.reference_names import PUBLISHED_NAMES
    from bigearth_tf.models.registry import create_model, model_config, reference_overrides

    published_name = {ours: theirs for theirs, ours in PUBLISHED_NAMES.items()}.get(name, "")
    config, model = model_config(name), create_model(name, num_classes=NUM_CLASSES)
    cost, features = cost_of(model), model.get_layer("features").output
    published = ""
    if published_name:
        overrides = reference_overrides(name)
        published = str(create_model(name, num_classes=NUM_CLASSES, **overrides).count_params())
    return {
        "model": name,
        "published_name": published_name,
        "family": type(config).__module__.split(".")[-1],
        # K-Branch CNN has a branch for each native size instead.
        "input_px": str(getattr(config, "resolution_px", "native")),
        "parameters": str(cost.parameters),
        "trainable": str(cost.trainable_parameters),
        "published_parameters": published,
        "gflops": f"{cost.flops / 1e9:.3f}",
        "activations_m": f"{cost.activations / 1e6:.3f}",
        "features": str(features.shape[-1]),
    }


def build_rows(names: list[str]) -> list[dict[str, str]]:
    """Returns the rows of models behind a progress bar, forgetting each network before the next."""
    import keras

    rows = []
    with progress_bar(len(names), "zoo", "model") as bar:
        for name in names:
            bar.set_postfix_str(name, refresh=False)
            rows.append(build_row(name))
            keras.backend.clear_session()
            bar.update()
    return rows


def insert_table(text: str, table: str) -> str:
    """Returns a README with the table between its two markers.

    Raises:
        ValueError: It has not both markers once, in this order.
    """
    begin, end = MARKERS
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{README_PATH.name}: put the lines {begin} and {end} where the table belongs.")
    return f"{text[: text.index(begin)]}{begin}\n\n{table}\n{text[text.index(end) :]}"


def main() -> None:
    """Builds the rows, then prints, checks or writes them."""
    from bigearth_tf.models.registry import list_models
    from bigearth_tf.runtime.files import write_text_atomically

    names = sorted(list_models(_MODELS.value), key=natural_order)
    if not names:
        raise ValueError(f"--models={_MODELS.value}: no model of the zoo has such a name.")
    if len(names) < len(list_models()):
        print(to_csv(COLUMNS, build_rows(names)), end="")
        return
    insert_table(README_PATH.read_text(encoding="utf-8"), "")
    rows = build_rows(names)
    # Read again: building takes minutes, in which somebody may have written.
    readme = README_PATH.read_text(encoding="utf-8")
    wanted = {CSV_PATH: to_csv(COLUMNS, rows), README_PATH: insert_table(readme, to_markdown(COLUMNS, rows))}
    found = {path: path.read_text(encoding="utf-8") if path.exists() else "" for path in wanted}
    stale = [path.name for path in wanted if found[path] != wanted[path]]
    if _CHECK.value:
        if stale:
            sys.exit(f"error: {', '.join(stale)}: not what the models cost; run `python -m experiments.zoo_table`.")
        print(f"{len(rows)} models are as written")
        return
    for path, text in wanted.items():
        write_text_atomically(path, text)
    print(f"{len(rows)} models; written anew: {', '.join(stale) or 'nothing'}")


if __name__ == "__main__":
    run_command(main)
