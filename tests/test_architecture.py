"""Do imports go one way, has each heavy dependency one importer, and does no file name anybody's machine?"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
# From the bottom up: a package imports itself and what stands before it.
LAYERS = ("bigearth_tf", "tfrecord_tools", "experiments", "slurm")
# What the tools may take from the library: they need no model.
TOOLS_MAY_IMPORT = {"bands", "labels", "example_schema", "manifest", "datasets", "runtime", "true_colour"}
TOOLS_MAY_IMPORT |= {"published_schema", "record_formats"}
IMPORTERS = {
    "osgeo": {"tfrecord_tools/geotiff.py"},
    # The launcher runs Horovod's rendezvous server.
    "horovod": {"bigearth_tf/distributed.py", "bigearth_tf/launch/rendezvous.py"},
    "matplotlib": {
        "experiments/plot_evaluation.py",
        "experiments/plot_predictions.py",
        "tfrecord_tools/plot_dataset.py",
    },
    "pyarrow": {"bigearth_tf/predictions.py"},
    "sklearn": {"bigearth_tf/metrics.py"},
    "tensorflow_addons": {"bigearth_tf/optimizers.py"},
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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path):
    here = name_of(path).split("/")[0]
    for module, name in imports_of(path):
        package = module.split(".")[0]
        if package not in LAYERS:
            continue
        assert LAYERS.index(package) <= LAYERS.index(here), f"{module} is above {here}"
        if here == "tfrecord_tools" and package == "bigearth_tf":
            part = name if module == package else module.split(".")[1]
            assert part in TOOLS_MAY_IMPORT or part == "__version__", f"the tools import {module}"


def test_each_heavy_dependency_has_one_importer():
    found = {dependency: set() for dependency in IMPORTERS}
    for path in FILES:
        for module, _ in imports_of(path):
            if module.split(".")[0] in found:
                found[module.split(".")[0]].add(name_of(path))
    assert found == IMPORTERS


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name in ("layers", "models")], ids=name_of)
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


def test_every_file_says_which_question_it_answers_and_keeps_its_size():
    # Two files are tables for the most part.
    exempt = {"tfrecord_tools/land_cover_signatures.py"}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), name_of(path)
        assert name_of(path) in exempt or len(text.splitlines()) <= 300, name_of(path)


def test_no_library_prints():
    for path in FILES:
        if name_of(path).startswith("bigearth_tf"):
            assert not re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), re.MULTILINE), name_of(path)


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


@pytest.mark.parametrize("module", ["bigearth_tf", "bigearth_tf.bands", "bigearth_tf.labels", "bigearth_tf.config",
                                    "bigearth_tf.manifest", "tfrecord_tools.shards"])  # fmt: skip
def test_importing_what_needs_no_tensorflow_loads_none(module):
    script = f"import sys, {module}; raise SystemExit(any(m in sys.modules for m in ('tensorflow', 'keras', 'osgeo')))"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0
