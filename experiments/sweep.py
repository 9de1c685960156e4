"""Trains the models of a list, one per job of a SLURM array, and writes a table of all their scores.

    python -m experiments.sweep --models='wide_resnet_*,resnet50' --list
    python -m experiments.sweep --models='wide_resnet_*,resnet50' --task_index=3 --config=CONFIG --workdir=runs/zoo
    python -m experiments.sweep --workdir=runs/zoo --table

experiments.train trains the model of a job in WORKDIR/<model>, with the config of --config, replacing only its model.
The table, WORKDIR/sweep.csv and sweep.md, contains every finished run in WORKDIR, the best validation score first.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from absl import flags

from bigearth_tf.runs.record import CONFIG_NAME, RESULT_NAME
from bigearth_tf.runtime.command import run_command
from experiments.shared.config_flag import config_arguments, define_config
from experiments.shared.light_registry import import_registry_without_tensorflow
from experiments.shared.sweep_rows import COLUMNS, make_rows
from experiments.shared.table_text import natural_sort_key, to_csv, to_markdown

_CONFIG = define_config("Its model is replaced.")
_MODELS = flags.DEFINE_list("models", ["*"], "Names of models, or shell patterns of names, separated by commas.")
_TASK_INDEX = flags.DEFINE_integer(
    "task_index", None, "Index of the model to train, from 0; default: SLURM's array task."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep; each run has a folder in it.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of shards and manifest, in place of the config's.")
_STAGE_DIR = flags.DEFINE_string("stage_dir", "", "As for experiments.train.")
_KEEP_STAGED = flags.DEFINE_bool("keep_staged", False, "As for experiments.train.")
_LIST = flags.DEFINE_bool("list", False, "Only print the index of each model.")
_TABLE = flags.DEFINE_bool("table", False, "Only write the table.")


TABLE_NAME = "sweep"


def choose_models(patterns: list[str]) -> list[str]:
    """Returns the models of all patterns, in an order that does not depend on that of the patterns.

    Raises:
        ValueError: A pattern matches no model.
    """
    with import_registry_without_tensorflow() as registry:
        found = {pattern: registry.list_models(pattern) for pattern in patterns}
        for pattern, names in found.items():
            if not names:
                near = registry.suggest(pattern, registry.list_models())
                raise ValueError(f"--models={pattern}: no model has such a name; {near}")
    return sorted({name for names in found.values() for name in names}, key=natural_sort_key)


def train_one() -> None:
    """Replaces this process by `python -m experiments.train` for the model of this task.

    Raises:
        ValueError: The sweep has no such task, or a flag is missing or not allowed.
    """
    if not _WORKDIR.value or not _CONFIG.value:
        raise ValueError("Training needs --config and --workdir; --list and --table need less.")
    own = config_arguments()
    if any(argument.startswith("--config.model=") for argument in own):
        raise ValueError("--config.model: leave it out; --models names the models.")
    index = os.environ.get("SLURM_ARRAY_TASK_ID") if _TASK_INDEX.value is None else _TASK_INDEX.value
    if index is None:
        raise ValueError("Name the model to train with --task_index, or submit an array: slurm/zoo.sbatch.")
    models = choose_models(_MODELS.value)
    if not 0 <= int(index) < len(models):
        raise ValueError(f"task {index}: expected 0 ... {len(models) - 1}; --list prints the model of each.")
    name = models[int(index)]
    data = [f"--data_dir={_DATA_DIR.value}"] if _DATA_DIR.value else []
    data += [f"--stage_dir={_STAGE_DIR.value}", f"--keep_staged={_KEEP_STAGED.value}"]
    workdir = f"--workdir={Path(_WORKDIR.value) / name}"
    os.execv(
        sys.executable, [sys.executable, "-m", "experiments.train", *own, f"--config.model={name}", workdir, *data]
    )


def write_table(workdir: Path) -> None:
    """Writes and prints the table, and prints which runs are not finished."""
    from bigearth_tf.runtime.files import write_text_atomically

    rows = make_rows(workdir)
    markdown = to_markdown(COLUMNS, rows)
    columns = dict.fromkeys(name for row in rows for name in row)
    write_text_atomically(workdir / f"{TABLE_NAME}.csv", to_csv(columns, rows))
    write_text_atomically(workdir / f"{TABLE_NAME}.md", markdown)
    print(markdown)
    unfinished = sorted(
        path.parent.name for path in workdir.glob(f"*/{CONFIG_NAME}") if not path.with_name(RESULT_NAME).exists()
    )
    if unfinished:
        print(f"not finished: {', '.join(unfinished)}")
    print(f"{len(rows)} runs; wrote {workdir / TABLE_NAME}.csv and .md")


def main() -> None:
    """Lists models, writes the table, or trains."""
    if _TABLE.value:
        if not _WORKDIR.value:
            raise ValueError("--table needs --workdir, the folder of the sweep.")
        write_table(Path(_WORKDIR.value))
        return
    if not _LIST.value:
        train_one()
    models = choose_models(_MODELS.value)
    for index, name in enumerate(models):
        print(f"{index:4d}  {name}")
    print(f"train all: sbatch --array=0-{len(models) - 1} slurm/zoo.sbatch --models='{','.join(_MODELS.value)}' ...")


if __name__ == "__main__":
    run_command(main)
