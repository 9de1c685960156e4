"""Writes the cost of every zoo model to `experiments/zoo.csv` and to the table in `bigearth_tf/models/README.md`.

    python -m experiments.zoo_table
    python -m experiments.zoo_table --check
    python -m experiments.zoo_table --models='wide_resnet_*'

Each model is built in its default form, for the ten bands and 19 classes of the benchmark, and counted by
bigearth_tf/models/cost.py. If it has a reference form, that is built as well and its parameters are counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from bigearth_tf.runtime.command import run_command
from bigearth_tf.runtime.progress import progress_bar
from experiments.shared.table_text import natural_sort_key, to_csv, to_markdown

_MODELS = flags.DEFINE_string(
    "models", "*", "Shell pattern of names; for fewer than all models, the rows are only printed."
)
_CHECK = flags.DEFINE_boolean("check", False, "Write nothing; exit with code 1 if a file differs.")

REPOSITORY = Path(__file__).parent.parent
CSV_PATH = REPOSITORY / "experiments" / "zoo.csv"
README_PATH = REPOSITORY / "bigearth_tf" / "models" / "README.md"
MARKERS = ("<!-- zoo table: begin -->", "<!-- zoo table: end -->")

NUM_CLASSES = 19
# Column of the CSV -> title and alignment in the README. NOTE: "published" in the CSV, which programs read, stands for
# the benchmark's names and for the reference form.
COLUMNS = {
    "model": ("model", "---"),
    "published_name": ("benchmark's name", "---"),
    "family": ("family", "---"),
    "input_px": ("input, px", "---:"),
    "parameters": ("parameters", "---:"),
    "trainable": ("trainable", "---:"),
    "published_parameters": ("reference form", "---:"),
    "gflops": ("GFLOPs", "---:"),
    "activations_m": ("activations, 10^6", "---:"),
    "features": ("features", "---:"),
}


def build_row(name: str) -> dict[str, str]:
    """Returns the row of a model, which is built once for each of its forms."""
    from bigearth_tf.models.cost import compute_cost
    from bigearth_tf.models.reference_names import REFERENCE_NAMES
    from bigearth_tf.models.registry import create_model, model_config, reference_overrides

    reference_name = {ours: theirs for theirs, ours in REFERENCE_NAMES.items()}.get(name, "")
    config, model = model_config(name), create_model(name, num_classes=NUM_CLASSES)
    cost, features = compute_cost(model), model.get_layer("features").output
    reference_parameters = ""
    if reference_name:
        overrides = reference_overrides(name)
        reference_parameters = str(create_model(name, num_classes=NUM_CLASSES, **overrides).count_params())
    return {
        "model": name,
        "published_name": reference_name,
        "family": type(config).__module__.split(".")[-1],
        # K-Branch CNN has one branch for each native size of the bands.
        "input_px": str(getattr(config, "resolution_px", "native")),
        "parameters": str(cost.parameters),
        "trainable": str(cost.trainable_parameters),
        "published_parameters": reference_parameters,
        "gflops": f"{cost.flops / 1e9:.3f}",
        "activations_m": f"{cost.activations / 1e6:.3f}",
        "features": str(features.shape[-1]),
    }


def build_rows(names: list[str]) -> list[dict[str, str]]:
    """Returns the rows of models with a progress bar; frees the memory of each model before the next."""
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
    """Returns the text of a README with the table between its two markers.

    Raises:
        ValueError: The text does not contain each marker once, in this order.
    """
    begin, end = MARKERS
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{README_PATH.name}: write the lines {begin} and {end} where the table belongs.")
    return f"{text[: text.index(begin)]}{begin}\n\n{table}\n{text[text.index(end) :]}"


def main() -> None:
    """Builds the rows, then prints, checks or writes the tables."""
    from bigearth_tf.models.registry import list_models
    from bigearth_tf.runtime.files import write_text_atomically

    names = sorted(list_models(_MODELS.value), key=natural_sort_key)
    if not names:
        raise ValueError(f"--models={_MODELS.value}: no model of the zoo has a matching name.")
    if len(names) < len(list_models()):
        print(to_csv(COLUMNS, build_rows(names)), end="")
        return
    insert_table(README_PATH.read_text(encoding="utf-8"), "")  # Fails at once if a marker is missing.
    rows = build_rows(names)
    # Read the file again: somebody may have changed it in the minutes that building takes.
    readme = README_PATH.read_text(encoding="utf-8")
    expected = {CSV_PATH: to_csv(COLUMNS, rows), README_PATH: insert_table(readme, to_markdown(COLUMNS, rows))}
    found = {path: path.read_text(encoding="utf-8") if path.exists() else "" for path in expected}
    changed = [str(path.relative_to(REPOSITORY)) for path in expected if found[path] != expected[path]]
    if _CHECK.value:
        if changed:
            sys.exit(f"error: {', '.join(changed)}: outdated; run `python -m experiments.zoo_table`.")
        print(f"{len(rows)} models match their tables")
        return
    for path, text in expected.items():
        write_text_atomically(path, text)
    print(f"{len(rows)} models; changed: {', '.join(changed) or 'nothing'}")


if __name__ == "__main__":
    run_command(main)
