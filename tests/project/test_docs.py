"""Links, commands and facts of the Markdown files.

A command in a fenced bash block is run, unless a marker in the line before the block says what it needs:
`<!-- needs: archive -->`, `<!-- needs: cluster -->` or `<!-- needs: set-up -->`. Such a command is parsed with its own
flags. `<!-- needs: archive; tested on a few patches -->` stands before commands that are run here on a small archive.
"""

import ast
import csv
import dataclasses
import functools
import json
import os
import re
import shlex
import subprocess
from typing import NamedTuple

import pytest

from bigearth_tf.data.bands import Band
from bigearth_tf.data.manifest import Manifest, Shard
from bigearth_tf.runs.record import ConstantPrediction, DatasetRecord, ImportOrigin, RunResult, RunSettings
from bigearth_tf.runtime import exit_codes
from tests.support import warm_python
from tests.support.archives import random_pixels, write_lists, write_pair
from tests.support.paths import REPOSITORY

SHELL = ("bash", "sh")
MARKER = re.compile(r"<!-- needs: (archive|cluster|set-up)(; tested on a few patches)? -->")
OUR_PACKAGES = ("bigearth_tf", "tfrecord_tools", "experiments", "slurm", "benchmarks")
# Programs of others; only our commands are parsed.
OTHER_PROGRAMS = {"cd", "conda", "export", "git", "horovodrun", "module", "mpirun", "pip", "source", "tail"}
README_SECTIONS = ["Requirements", "Demo", "Your own archive", "Results", "Models", "Guided tour", "Where next"]
README_BYTES = 9_000


def markdown_files():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted({name for name in listed if name and (REPOSITORY / name).is_file()})


FILES = markdown_files()


def read(name):
    return (REPOSITORY / name).read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block: its language, its text, and whether this file runs it."""

    file: str
    language: str
    text: str
    runs: bool


def fenced_blocks(name):
    """Returns the fenced blocks of a file."""
    found = re.finditer(r"(?:^(<!--[^\n]* -->)\n)?^```(\w*)\n(.*?)^```$", read(name), re.MULTILINE | re.DOTALL)
    blocks = []
    for marker, language, text in (match.groups() for match in found):
        needs = MARKER.fullmatch(marker) if marker else None
        assert needs or not marker or "needs" not in marker, f"{name}: unknown marker {marker}"
        blocks.append(Block(name, language, text, needs is None or needs[2] is not None))
    return blocks


BLOCKS = [block for name in FILES for block in fenced_blocks(name)]


def prose(name):
    """Returns the text of a file without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.MULTILINE | re.DOTALL)


def commands_of(text):
    """Returns the commands of a shell text, each a list of words, without assignments before it."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        commands.append([])
        for token in lexer:
            if set(token) <= set("&|;"):
                commands.append([])
            elif commands[-1] or not re.match(r"[A-Z_]+=", token):
                commands[-1].append(token)
    return [command for command in commands if command]


def test_commands_of_a_shell_text():
    text = "A=1 make x && python -m a.b --c='d e' \\\n    --f    # a remark\ngit status\n"
    assert commands_of(text) == [["make", "x"], ["python", "-m", "a.b", "--c=d e", "--f"], ["git", "status"]]


# --- Links.


def slug(heading):
    """Returns the anchor that GitHub gives a heading."""
    text = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(name):
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)}


@pytest.mark.parametrize("name", FILES)
def test_links_lead_to_files_and_headings(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        assert file.exists(), f"{name}: {target}: no such file"
        if anchor:
            assert anchor in anchors(file.resolve().relative_to(REPOSITORY.resolve())), f"{name}: {target}: no heading"


# --- Commands.


class Call(NamedTuple):
    """A call of one of our modules with arguments."""

    module: str
    arguments: tuple


def require(condition, problem):
    if not condition:
        raise ValueError(problem)


def calls_of(command):
    """Returns the calls of our modules that a command makes.

    Raises:
        ValueError: The command is not in the repository, or not one that these documents may use.
    """
    program, *arguments = command
    if program == "make":
        targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
        require(set(arguments) <= targets, f"make {' '.join(arguments)}: no such target")
        return []
    if program == "sbatch":
        (script,) = [word for word in arguments if word.endswith(".sbatch")]
        module = re.findall(r"python -m ((?:experiments|tfrecord_tools)\.\w+)", (REPOSITORY / script).read_text())[-1]
        return [Call(module, tuple(arguments[arguments.index(script) + 1 :]))]
    if program.endswith("python") and arguments[0] == "-m":
        return calls_of_module(arguments[1], arguments[2:])
    require(program in OTHER_PROGRAMS or (REPOSITORY / program).is_file(), f"{' '.join(command)}: unknown program")
    if "python" in arguments:
        return calls_of(arguments[arguments.index("python") :])
    return []


def calls_of_module(module, arguments):
    if module == "pre_commit":
        return []
    if module == "pytest":
        for path in [argument for argument in arguments if argument.startswith("tests/")]:
            require((REPOSITORY / path.split("::")[0]).exists(), f"{path}: no such test")
        return []
    require(module.split(".")[0] in OUR_PACKAGES, f"python -m {module}: not ours")
    path = REPOSITORY / module.replace(".", "/")
    files = (path.with_suffix(".py"), path / "__main__.py")
    require(any(file.is_file() for file in files), f"python -m {module}: no such module")
    if "--" in arguments:
        end = arguments.index("--")
        inner = arguments[end + 1 :]
        return [Call(module, tuple(arguments[:end])), *(calls_of(inner) if inner[0] == "python" else [])]
    return [Call(module, tuple(arguments))]


def inline_commands(name):
    """Returns the commands in single backticks."""
    found = re.findall(r"`((?:\w+=\S+ )*(?:python -m|make|sbatch|horovodrun|mpirun) [^`\n]+)`", prose(name))
    return [command for text in found for command in commands_of(text)]


def all_calls():
    """Returns call -> whether its arguments are complete, file -> its calls to run in order, and what is wrong."""
    commands = [
        (block.file, command, True, block.runs)
        for block in BLOCKS
        if block.language in SHELL
        for command in commands_of(block.text)
    ]
    commands += [(name, command, False, False) for name in FILES for command in inline_commands(name)]
    calls, runs, problems = {}, {}, []
    for name, command, complete, is_run in commands:
        try:
            for call in calls_of(command):
                calls[call] = calls.get(call, False) or (complete and "..." not in " ".join(call.arguments))
                if is_run:
                    runs.setdefault(name, []).append(call)
        except ValueError as problem:
            problems.append(f"{name}: {problem}")
    return calls, runs, problems


# Each command line is parsed in a fork of a process that has imported the command.
PARSE = """
import importlib, json, os, sys
from absl import flags
module, lines = sys.argv[1], json.loads(sys.argv[2])
importlib.import_module(module)
def names(arguments):
    return [argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")]
failed = 0
for arguments, complete in lines:
    if os.fork() == 0:
        sys.argv = [module, *arguments]  # Where config flags look for overrides.
        try:
            if complete:
                left = flags.FLAGS([module, *arguments])[1:]
            else:
                known = set(flags.FLAGS) | {"help"}
                known |= {"no" + name for name in known}
                left = [name for name in names(arguments) if name not in known and not name.startswith("config.")]
        except Exception as error:
            left = [str(error)]
        if left:
            print(f"python -m {module} {' '.join(arguments)}: {left}", flush=True)
        os._exit(bool(left))
    failed |= os.wait()[1]
sys.exit(bool(failed))
"""
CALLS, RUNS, PROBLEMS = all_calls()


def test_commands_exist():
    assert not PROBLEMS, "\n".join(PROBLEMS)


@pytest.mark.parametrize("module", sorted({call.module for call in CALLS}))
def test_commands_have_these_flags(module):
    lines = [(call.arguments, complete) for call, complete in CALLS.items() if call.module == module]
    if module == "bigearth_tf.launch":
        printed = warm_python.run(["-m", module, "--help"], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES).stdout
        flags = {argument.partition("=")[0] for arguments, _ in lines for argument in arguments}
        assert {flag for flag in flags if flag.startswith("--")} <= set(re.findall(r"--\w+", printed))
        return
    result = warm_python.run(
        ["-c", PARSE, module, json.dumps(lines)], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


# --- Commands on a small archive.

LISTS = ["--lists_dir=lists"]
SMALL = {
    "tfrecord_tools.convert": [*LISTS, "--workers=1"],
    "experiments.train": [
        "--config.epochs=1", "--config.global_batch_size=4", "--config.model_overrides=resolution_px=15, width=0.5",
    ],
    "experiments.evaluate": ["--draws=10", "--ranking_draws=5"],
}  # fmt: skip


def run_calls(calls, folder):
    """Runs calls in a folder, with what makes them small; returns what each printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    printed = []
    for call in calls:
        arguments = [
            *call.arguments,
            *(argument for argument in SMALL.get(call.module, []) if not is_given(argument, call)),
        ]
        if call.module == "tfrecord_tools.verify" and any(a.startswith("--source") for a in arguments):
            arguments += LISTS
        result = warm_python.run(["-m", call.module, *arguments], cwd=folder, env=environment)
        assert result.returncode == 0, f"{call}: {result.stdout[-1000:]} {result.stderr[-3000:]}"
        printed.append(result.stdout)
    return printed


def is_given(argument, call):
    return any(given.startswith(argument.partition("=")[0] + "=") for given in call.arguments)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A folder with an archive of 14 pairs, as README.md names it, in which its five commands were run."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "experiments").symlink_to(REPOSITORY / "experiments")  # Configs are named by their path.
    for index in range(14):
        labels = ["Pastures"] if index % 2 else ["Coniferous forest", "Water bodies"]
        write_pair(folder, index, labels, functools.partial(random_pixels, seed=index))
    write_lists(folder / "lists", {"train": list(range(8)), "val": [8, 9, 10], "test": [11, 12, 13]})
    for name, there in (("BigEarthNet-v1.0", "s2"), ("BigEarthNet-S1-v1.0", "s1"), ("some_patches", "s2")):
        (folder / name).symlink_to(folder / there)
    (folder / "runs").mkdir()
    (folder / "runs" / "resnet50").symlink_to("eca_b0")  # Another model to compare with: the same one.
    return folder, run_calls(RUNS["README.md"], folder)


def test_the_five_commands_of_the_readme(archive):
    folder, printed = archive
    assert len(printed) == 5
    converted, verified, trained, _, predicted = printed
    assert "train: 8 records in 1 shards" in converted
    assert verified.startswith("PASS: 14 records")
    assert "test micro F1" in trained
    assert predicted.count("predicted") == 14
    assert (folder / "runs" / "eca_b0" / "predictions" / "predictions.png").exists()


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(RUNS.keys() - {"README.md"}))
def test_commands_of_other_documents_run(archive, name):
    folder, _ = archive
    run_calls(RUNS[name], folder)


# --- Python.


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=lambda b: b.file)
def test_python_compiles_and_imports_what_exists(block):
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OUR_PACKAGES:
            script = f"from {node.module} import {', '.join(alias.name for alias in node.names)}"
            assert warm_python.run(["-c", script], cwd=REPOSITORY).returncode == 0, script


# --- Facts.


def section(name, heading):
    """Returns the text of a file from a heading to the next one."""
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", read(name), re.MULTILINE | re.DOTALL)[1]


def test_the_readme_is_short_and_has_its_sections():
    assert len(read("README.md").encode()) <= README_BYTES
    assert re.findall(r"^## (.+)$", prose("README.md"), re.MULTILINE) == README_SECTIONS


def test_messages_cite_sections_of_the_readme_that_exist():
    for package in OUR_PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for heading in re.findall(r"\(README, ([^)]+)\)", path.read_text(encoding="utf-8")):
                assert heading in README_SECTIONS, f"{path}: README, {heading}"


def test_the_guided_tour_has_ten_files():
    assert len(re.findall(r"^\d+\. \[", section("README.md", "Guided tour"), re.MULTILINE)) == 10


def test_the_models_of_the_readme_are_rows_of_the_zoo():
    with (REPOSITORY / "experiments" / "zoo.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    text = section("README.md", "Models")
    assert f"Six of the {len(rows)}" in text
    assert f"has {len(rows)} models" in read("README.md")
    table = re.findall(r"^\| `(\w+)` \| .* \| (\S+) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert len(table) == 6
    for name, *cells in table:
        expected = [rows[name][column] for column in ("input_px", "parameters", "gflops")]
        assert [cell.replace(",", "") for cell in cells] == expected, name


def test_the_readme_lists_the_commands_of_the_demo():
    script = (
        "from experiments.demo import list_steps\n"
        "print(*dict.fromkeys(command.split()[0] for _, command in list_steps('runs/demo', 400)))"
    )
    printed = warm_python.run(["-c", script], cwd=REPOSITORY, modules=warm_python.LIGHT_MODULES).stdout.split()
    assert re.findall(r"\| `python -m ([\w.]+)` \|", section("README.md", "Demo")) == printed


SPECIFIED = {
    "Manifest": (Manifest, Band, Shard),
    "Work folder": (RunSettings, DatasetRecord, RunResult, ConstantPrediction, ImportOrigin),
}


@pytest.mark.parametrize("heading", SPECIFIED)
def test_every_field_is_specified(heading):
    rows = re.findall(r"^\| .* \|$", section("docs/file_formats.md", heading), re.MULTILINE)
    for kind in SPECIFIED[heading]:
        for field in dataclasses.fields(kind):
            assert any(f"`{field.name}`" in row for row in rows), f"{kind.__name__}.{field.name}"


def test_the_walks_name_functions_that_exist():
    text = section("docs/architecture.md", "The walk of a config through a run")
    text += section("docs/architecture.md", "The walk of a patch to its score")
    sources = [p.read_text(encoding="utf-8") for package in OUR_PACKAGES for p in (REPOSITORY / package).rglob("*.py")]
    defined = set(re.findall(r"^\s*(?:def|class) (\w+)", "\n".join(sources), re.MULTILINE))
    named = set(re.findall(r"`([A-Za-z]\w*)`", text)) - {"train", "val", "test", "parse_example", "decode_raw"}
    assert named <= defined, named - defined


def test_the_exit_codes_are_listed():
    listed = {
        int(code)
        for code in re.findall(r"^\| (\d+)(?: \+ N)? \|", section("slurm/README.md", "Exit codes"), re.MULTILINE)
    }
    ours = {value for name, value in vars(exit_codes).items() if name.startswith("EXIT_")}
    assert ours <= listed


def test_the_messages_of_the_troubleshooting_table_exist():
    """Three consecutive words of each quoted message, or all if it has fewer, are in a string of the code."""
    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "slurm").glob("*.*sh*")]
    texts += [path.read_text(encoding="utf-8") for path in (REPOSITORY / "slurm").glob("*.sbatch")]
    for package in ("bigearth_tf", "slurm"):
        for path in (REPOSITORY / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts += [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    everything = "\n".join(texts)
    rows = re.findall(r"^\| (.+?) \| .+ \| .+ \|$", section("slurm/README.md", "Troubleshooting"), re.MULTILINE)[2:]
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row) if not message.startswith("PD")]
    assert len(messages) >= 20
    for message in messages:
        parts = [part.split() for part in re.split(r"\.\.\.|'[^']*'|: ", message)]
        windows = [words[at : at + 3] for words in parts for at in range(max(1, len(words) - 2)) if words]
        assert any(" ".join(window) in everything for window in windows), message
