"""Imports go in one direction, each heavy dependency has one importer, and no file names a machine or a person."""

import ast
import re
import subprocess
import sys

import pytest

from tests.support.paths import REPOSITORY

# From the bottom up: a package imports itself and those before it.
LAYERS = ("bigearth_tf", "tfrecord_tools", "experiments", "slurm")
# Room of the library -> the rooms that its files may import in addition to their own.
_BASIS = {"runtime", "config", "data"}
_RANKS = _BASIS | {"distributed", "input"}
_MODELS = {"data", "layers", "models"}
_RUNS = _RANKS | {"models", "runs"}
ROOMS = {
    "runtime": set(),
    "config": set(),
    "data": {"runtime"},
    "distributed": _BASIS,
    "input": _BASIS | {"distributed"},
    "layers": {"data"},
    "models": _MODELS,
    "runs": _BASIS | {"models"},
    "evaluation": _RUNS,
    "training": _RUNS | {"evaluation"},
    "serving": _RUNS | {"evaluation"},
    "mapping": _RUNS | {"evaluation", "serving"},
    "explain": _RUNS | {"evaluation", "serving", "mapping"},
    "checkpoint_import": _RUNS | {"layers", "evaluation", "serving"},
    "launch": {"runtime", "distributed"},
}
# What the tools may take from the library: what is stored, and what any process needs.
ROOMS_OF_TOOLS = {"runtime", "data"}
IMPORTERS = {
    "osgeo": {
        "bigearth_tf/mapping/raster.py",
        "bigearth_tf/mapping/write_raster.py",
        "tfrecord_tools/raster/geotiff.py",
    },
    # The launcher runs Horovod's rendezvous server.
    "horovod": {"bigearth_tf/distributed/replica.py", "bigearth_tf/launch/server.py"},
    "matplotlib": {
        "bigearth_tf/evaluation/calibration_plot.py",
        "bigearth_tf/evaluation/report_plots.py",
        "bigearth_tf/explain/pictures.py",
        "bigearth_tf/mapping/quick_look.py",
        "bigearth_tf/runtime/figures.py",
        "experiments/shared/plot_predictions.py",
        "tfrecord_tools/records/plot_dataset.py",
    },
    "pyarrow": {"bigearth_tf/evaluation/prediction_table.py", "bigearth_tf/serving/prediction_parts.py"},
    # Only the tests use it, as the oracle of scores.
    "sklearn": set(),
    "tensorflow_addons": {"bigearth_tf/training/optimizers.py"},
    "bigearthnet_common": set(),
}
FLAG_READERS = ("tfrecord_tools", "experiments", "slurm")


def imports_of(path):
    """Yields every module that a file imports, wherever in the file, as (module, name or None)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield node.module, alias.name


FILES = sorted(path for package in LAYERS for path in (REPOSITORY / package).rglob("*.py"))


def name_of(path):
    return path.relative_to(REPOSITORY).as_posix()


def module_of(path):
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def our_imports(path):
    """Yields every module of ours that a file imports."""
    for module, name in imports_of(path):
        if module.split(".")[0] in LAYERS:
            yield f"{module}.{name}" if f"{module}.{name}" in MODULES else module


def room_of(module):
    """Returns the room of a module: "data" for bigearth_tf.data.bands, "" for a package itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path):
    here = module_of(path)
    package = here.split(".")[0]
    for module in our_imports(path):
        other = module.split(".")[0]
        assert LAYERS.index(other) <= LAYERS.index(package), f"{module} is above {package}"
        if other != "bigearth_tf" or not room_of(module):
            continue
        if package == "bigearth_tf" and room_of(here):
            allowed = ROOMS[room_of(here)] | {room_of(here)}
            assert room_of(module) in allowed, f"{here} imports {module}; allowed: {', '.join(sorted(allowed))}"
        if package == "tfrecord_tools":
            assert room_of(module) in ROOMS_OF_TOOLS, f"the tools import {module}"


def test_the_rooms_and_their_arrows():
    """Prints the rooms of the library and the number of imports between them; checks that there is no cycle."""
    assert {room_of(module) for module in MODULES if module.startswith("bigearth_tf.")} == set(ROOMS)
    arrows = {room: {} for room in ROOMS}
    graph = {}
    for path in FILES:
        here = module_of(path)
        graph[here] = {module for module in our_imports(path) if module != here}
        if here.startswith("bigearth_tf.") and room_of(here):
            for module in graph[here]:
                if room_of(module) not in ("", room_of(here)) and module.startswith("bigearth_tf."):
                    arrows[room_of(here)][room_of(module)] = arrows[room_of(here)].get(room_of(module), 0) + 1
    for room, targets in arrows.items():
        listed = ", ".join(f"{target} ({count})" for target, count in sorted(targets.items()))
        print(f"{room:18s} -> {listed or 'nothing'}")
    assert find_cycle(graph) is None
    assert find_cycle({room: set(targets) for room, targets in arrows.items()}) is None
    print(f"{len(graph)} modules, no circle")


def find_cycle(graph):
    """Returns a cycle of a graph {node: nodes it points to} as a list, None if there is none."""
    done = set()

    def visit(node, way):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return None
        done.add(node)
        circles = (visit(other, [*way, node]) for other in sorted(graph.get(node, ())))
        return next((circle for circle in circles if circle), None)

    return next((circle for circle in (visit(node, []) for node in graph) if circle), None)


def test_a_circle_is_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_each_heavy_dependency_has_one_importer():
    found = {dependency: set() for dependency in IMPORTERS}
    for path in FILES:
        for module, _ in imports_of(path):
            if module.split(".")[0] in found:
                found[module.split(".")[0]].add(name_of(path))
    assert found == IMPORTERS


@pytest.mark.parametrize("path", [p for p in FILES if room_of(module_of(p)) in ("layers", "models")], ids=name_of)
def test_models_and_layers_import_keras_alone(path):
    for module, _ in imports_of(path):
        assert module.split(".")[0] not in ("tensorflow", "torch", "jax", "tf_keras"), module


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_the_private_modules_of_tensorflow_and_keras(path):
    for module, _ in imports_of(path):
        assert not module.startswith(("tensorflow.python", "keras.src")), module


def defines_flags(path, where=r"\b"):
    return bool(re.search(where + r"DEFINE_\w+\(", path.read_text(encoding="utf-8"), re.MULTILINE))


def calls_for_flags(path):
    return bool(re.search(r"^define_\w+flags\(", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_flags_live_in_commands_and_nothing_imports_a_command():
    assert {name_of(path).split("/")[0] for path in FILES if defines_flags(path)} <= set(FLAG_READERS)
    # A function may define the flags that several commands share: it does so when one of them calls it.
    commands = {name_of(path) for path in FILES if defines_flags(path, r"^\S.*\b") or calls_for_flags(path)}
    modules = {name[: -len(".py")].replace("/", ".") for name in commands}
    for path in FILES:
        imported = {module for module, _ in imports_of(path)} | {f"{m}.{n}" for m, n in imports_of(path) if n}
        assert not imported & modules, f"{name_of(path)} imports a command"


def test_every_file_has_a_docstring_and_at_most_300_lines():
    # This file is a table for the most part.
    exempt = {"tfrecord_tools/synthetic/land_cover_signatures.py"}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), name_of(path)
        assert name_of(path) in exempt or len(text.splitlines()) <= 300, name_of(path)


def test_no_library_prints():
    for path in FILES:
        if name_of(path).startswith("bigearth_tf"):
            calls = [
                node.func
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Call)
            ]
            assert not any(isinstance(name, ast.Name) and name.id == "print" for name in calls), name_of(path)


def tracked_files():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    return [REPOSITORY / name for name in listed if name and (REPOSITORY / name).is_file()]


MACHINE_PATH = re.compile(
    r"(?<![\w.~/])/(?:" + "|".join(("home", "Users", "root", "mnt", "scr" + "atch", "work", "tmp")) + r")/\w"
)
ADDRESS = re.compile(r"[\w.]+@(?!v\d)[\w-]+\.(?:com|org|net|edu|de|eu)\b")


def test_no_tracked_file_names_a_machine_or_a_person():
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        for pattern in (MACHINE_PATH, ADDRESS):
            found = pattern.search(text)
            assert not found, f"{name_of(path)}: {found.group()}"


def test_the_pattern_finds_such_paths():
    assert MACHINE_PATH.search("data_dir=/" + "home/somebody/data")
    assert not MACHINE_PATH.search("bigearth_tf/work/x https://example.org/home/x")


@pytest.mark.parametrize(
    "module",
    ["bigearth_tf", "bigearth_tf.config", "bigearth_tf.runtime.command", "bigearth_tf.data.bands",
     "bigearth_tf.data.labels", "bigearth_tf.data.manifest", "tfrecord_tools.conversion.shards"],
)  # fmt: skip
def test_importing_what_needs_no_tensorflow_loads_none(module):
    script = f"import sys, {module}; raise SystemExit(any(m in sys.modules for m in ('tensorflow', 'keras', 'osgeo')))"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0
