"""Tests that a wrong config, model, band or folder is reported in one message, before TensorFlow is loaded."""

import os

import pytest

from bigearth_tf.config import list_fields
from bigearth_tf.data.bands import get_bands
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.data.manifest import read_manifest
from bigearth_tf.evaluation.report import write_evaluation
from tests.support import warm_python
from tests.support.finished_runs import write_finished_run
from tests.support.paths import REPOSITORY
from tests.support.records import write_records
from tests.support.tiny_models import write_means_model

CONFIG = "from bigearth_tf.config import DataConfig, TrainConfig\ndef get_config():\n    return {}\n"
# File of a config -> its content.
FILES = {
    "empty.py": "",
    "syntax.py": "def get_config(:\n",
    "module.py": "\nimport no_such_module\n",
    "dict.py": CONFIG.format("{'epochs': 3}"),
    "nothing.py": CONFIG.format("None"),
    "field.py": CONFIG.format("TrainConfig(epoch=3)"),
    "type.py": CONFIG.format("TrainConfig(epochs='3')"),
    "part.py": CONFIG.format("TrainConfig(data={'bands': 'S2'})"),
    "text.txt": "",
    "good.py": CONFIG.format("TrainConfig(global_batch_size=8, best_metric='auto')"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("early")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    write_records(folder / "records", {"train": 16, "val": 8, "test": 4}, num_shards=1)
    write_records(folder / "no_test", {"train": 16, "val": 8}, num_shards=1)
    return folder


def run_light(command, *arguments, cwd):
    """Runs a command in an interpreter that has not loaded TensorFlow, and reports whether it has loaded it."""
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', *sys.argv[1:]]\n"
        "try:\n"
        f"    runpy.run_module('{command}', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print('TensorFlow was loaded:', 'tensorflow' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return warm_python.run(["-c", script, *arguments], cwd=cwd, env=environment, modules=warm_python.LIGHT_MODULES)


GOOD = ["--config=good.py", "--workdir=run", "--data_dir=records"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--config=no.py"], "--config=no.py: there is no such file; experiments/configs has benchmark.py, demo.py, "),
    (["--config=empty.py"], "--config=empty.py: the file has no function get_config(); "),
    (["--config=syntax.py"], "--config=syntax.py: line 1: invalid syntax"),
    (["--config=module.py"], "--config=module.py: line 2: ModuleNotFoundError: No module named 'no_such_module'"),
    (["--config=dict.py"], "--config=dict.py: get_config() returned dict; expected a TrainConfig"),
    (["--config=nothing.py"], "--config=nothing.py: get_config() returned NoneType; expected a TrainConfig"),
    (["--config=field.py"], "--config=field.py: line 3: TypeError: "),
    (["--config=text.txt"], "--config=text.txt: expected a Python file, *.py"),
    (["--config=type.py"], "error: --config=type.py: epochs='3': expected int, not str."),
    (["--config=part.py"], "error: --config=part.py: data={'bands': 'S2'}: expected DataConfig, not dict."),
    (["--config.epoch=3"], "error: Field epoch not found in TrainConfig; --help lists the fields of the config."),
    (["--config.data.band=S2"], "error: Field band not found in DataConfig; --help lists the fields of the config."),
    (["--config.epochs=many"], "--config.epochs=many: invalid literal for int()"),
    (["--config.epochs=0"], "epochs (>= 1)"),
    (["--config.model=resnet5"], "Unknown model 'resnet5'; did you mean resnet50"),
    (["--config.model_overrides=widht=2"], "Model wide_resnet_eca_b0 has no field 'widht'; did you mean width, "),
    (["--config.data.bands=B99"], "Unknown band 'B99'; allowed are the bands B04, B03, B02 and the sets RGB of them."),
    (["--config.data.bands=MM"], "'VV', 'VH' of the set MM; allowed are the bands B04, B03, B02 and the sets RGB"),
    (["--config.best_metric=speed"], "best_metric='speed': unknown; allowed: auto, micro_precision"),
    (["--config.best_metric=accuracy"],
     "best_metric='accuracy': a score of single-label data, and these are multi-label data; allowed: auto, micro_"),
    (["--data_dir=nowhere"], "nowhere/manifest.json: there is no manifest."),
    (["--data_dir=no_test"], "No split 'test' in this data set; it has train, val"),
    (["--workdir=good.py/run"], "good.py/run cannot be created: "),
])  # fmt: skip
def test_a_wrong_training_is_refused_at_once(folder, arguments, message):
    result = run_light("experiments.train", *GOOD, *arguments, cwd=folder)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == "TensorFlow was loaded: False\n"
    assert not (folder / "run").exists()


@pytest.mark.parametrize(("command", "more"), [
    ("experiments.search_scaling", []),
    ("experiments.sweep", ["--models=resnet5", "--task_index=0"]),
    ("slurm.submit", ["--dry_run"]),
    ("slurm.submit", ["--dry_run", "--steps=convert,train", "--convert_args=--s2=records"]),
])  # fmt: skip
def test_other_commands_that_train_refuse_a_model_at_once(folder, command, more):
    model = [] if command == "experiments.sweep" else ["--config.model=resnet5"]
    result = run_light(command, *GOOD, *model, *more, cwd=folder)
    assert result.returncode == 1
    assert "did you mean resnet50" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == "TensorFlow was loaded: False\n"


@pytest.fixture(scope="module")
def trained(folder):
    """Adds finished runs, an export, and the evaluation of other records to the folder."""
    manifest = read_manifest(folder / "records")
    write_finished_run(folder / "finished", manifest)
    write_finished_run(folder / "no_model", manifest)
    settings = folder / "no_model" / "config.json"
    settings.write_text(settings.read_text().replace("wide_resnet_eca_b0", "wide_resnet_eca_x0"))
    write_finished_run(folder / "elsewhere", manifest)
    write_evaluation({"about": {"dataset": "other", "split": "test", "shards_sha256": "0"}}, folder / "elsewhere")
    write_records(folder / "fewer_bands", {"test": 4}, num_shards=1, bands="B04,B03")
    write_means_model(folder / "model", get_bands("RGB"), CLASSES_19[:3])
    return folder


@pytest.mark.parametrize(("command", "arguments", "message"), [
    ("export", ["--workdir=records", "--output_dir=new"], "records/config.json: missing. Name the --workdir of a"),
    ("export", ["--workdir=finished", "--output_dir=records"], "records: exists and is not an export."),
    ("export", ["--workdir=finished", "--output_dir=good.py/new"], "good.py is a file. Name another folder."),
    ("export", ["--workdir=no_model", "--output_dir=new"], "Unknown model 'wide_resnet_eca_x0'; did you mean"),
    ("evaluate", ["--workdir=nowhere", "--data_dir=records"], "nowhere/config.json: missing."),
    ("evaluate", ["--workdir=finished", "--data_dir=nowhere"], "nowhere/manifest.json: there is no manifest."),
    ("evaluate", ["--workdir=finished", "--data_dir=records", "--split=tests"], "No split 'tests' in this data set"),
    ("evaluate", ["--workdir=finished", "--data_dir=fewer_bands"], "Unknown band 'B02'; allowed are the bands"),
    ("evaluate", ["--workdir=no_model", "--data_dir=records"], "Unknown model 'wide_resnet_eca_x0'"),
    ("evaluate", ["--workdir=finished", "--data_dir=records", "--output=good.py/new"], "good.py is a file."),
    ("evaluate", ["--workdir=finished", "--data_dir=records", "--output=elsewhere"], "is the evaluation of other"),
    ("compare", ["--first=nowhere", "--second=nowhere"], "error: nowhere: missing."),
    ("compare", ["--first=nowhere", "--second=nowhere", "--output=good.py/new.json"], "good.py is a file."),
    ("predict", ["--model_dir=records", "--s2=records", "--output_dir=new"], "records: no SavedModel here."),
    ("predict", ["--model_dir=model", "--s2=records", "--output_dir=good.py/new"], "good.py is a file."),
    ("import_checkpoint", ["--checkpoint=nowhere.zip", "--output=new"], "nowhere.zip: no zip, no folder, and no"),
    ("import_checkpoint", ["--checkpoint=good.py", "--output=records"], "contains something other than an imported"),
    ("import_checkpoint", ["--checkpoint=good.py", "--output=good.py/new"], "good.py is a file."),
])  # fmt: skip
def test_a_wrong_use_of_a_model_is_refused_at_once(trained, command, arguments, message):
    before = sorted(trained.rglob("*"))
    result = run_light(f"experiments.{command}", *arguments, cwd=trained)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == "TensorFlow was loaded: False\n"
    assert sorted(trained.rglob("*")) == before


def test_predict_says_that_gdal_is_missing(trained):
    script = (
        "import runpy, sys, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'osgeo' else find(name, *more)\n"
        "sys.argv = ['predict', '--model_dir=model', '--s2=records', '--output_dir=new']\n"
        "runpy.run_module('experiments.predict', run_name='__main__', alter_sys=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = warm_python.run(["-c", script], cwd=trained, env=environment, modules=warm_python.LIGHT_MODULES)
    assert result.returncode == 1
    assert result.stderr.startswith("error: The Python package osgeo is not installed")
    assert "pip install '.[geo]'" in result.stderr


def test_missing_flags_are_all_named_with_their_meaning(folder):
    result = run_light("experiments.train", cwd=folder)
    assert result.returncode == 1
    assert result.stderr == (
        "error: --config: it is required. File with a get_config() that returns a TrainConfig. The run follows it.\n"
        "--workdir: it is required. Folder of the run: config, checkpoints, logs, result.\n"
        "--help explains the flags.\n"
    )


@pytest.mark.parametrize("command", ["experiments.train", "experiments.sweep", "slurm.submit"])
def test_help_marks_required_flags_and_lists_the_fields_of_the_config(folder, command):
    text = " ".join(run_light(command, "--help", cwd=folder).stdout.split())
    assert text.count("Required. ") == {"experiments.train": 2, "experiments.sweep": 0, "slurm.submit": 1}[command]
    for field in list_fields():
        kind = field.kind.__name__
        assert f"--config.{field.name}={field.default} ({kind}): {field.meaning} ".replace("= (", "= (") in f"{text} "
