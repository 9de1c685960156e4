"""Tests that `auto` follows the data, and that a run of an older version with `auto` resumes."""

import dataclasses
import importlib

import pytest

from bigearth_tf.config import DataConfig, TrainConfig
from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.manifest import Shard
from bigearth_tf.evaluation.metric_table import selection_scores
from bigearth_tf.runs.record import make_run_settings, write_settings
from bigearth_tf.runs.work_folder import claim
from bigearth_tf.training.losses import make_loss
from bigearth_tf.training.resolve_config import resolve_config
from tests.support.paths import REPOSITORY
from tests.support.records import Labels, make_manifest

CONFIGS = sorted(path.stem for path in (REPOSITORY / "experiments" / "configs").glob("[a-z]*.py"))


def make(bands="S2", kind=LabelKind.MULTI):
    shards = [Shard(f"{split}.tfrecord", split, 9, 1, "0", (3, 3, 3)) for split in ("train", "val", "test")]
    return make_manifest(get_bands(bands), shards, Labels(kind))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", LabelKind)
def test_each_config_trains_data_of_both_kinds_of_labels(name, kind):
    config = resolve_config(importlib.import_module(f"experiments.configs.{name}").get_config(), make(kind=kind))
    assert config.best_metric in selection_scores(kind)
    make_loss(config.loss, kind, [5] * 3, 9)


def test_auto_is_the_micro_f1_or_the_accuracy():
    config = TrainConfig(best_metric="auto")
    assert resolve_config(config, make()).best_metric == "micro_f1"
    assert resolve_config(config, make(kind=LabelKind.SINGLE)).best_metric == "accuracy"
    assert config.best_metric == "auto"


@pytest.mark.parametrize(("stored", "expected"), [
    ("S2", "S2"), ("S2_ALL", "S2"), ("MM", "S2"), ("RGB", "B04,B03,B02"), ("S1", "VV,VH"),
])  # fmt: skip
def test_the_default_bands_are_the_ten_of_the_benchmark_or_all_that_are_stored(stored, expected):
    manifest = make(stored)
    found = resolve_config(TrainConfig(), manifest).data.bands
    assert found == expected
    assert manifest.select_bands(found)


def test_a_constant_band_is_left_out():
    rows = tuple(dataclasses.replace(BANDS[name], std=0 if name == "B03" else 1.0) for name in ("B02", "B03"))
    manifest = dataclasses.replace(make(), bands=rows)
    assert resolve_config(TrainConfig(), manifest).data.bands == "B02"


def test_a_metric_of_the_other_kind_of_labels_is_refused_with_those_that_fit():
    message = "'micro_f1': a score of multi-label data, and these are single-label data; allowed: auto, macro_precision"
    with pytest.raises(ValueError, match=message):
        resolve_config(TrainConfig(best_metric="micro_f1"), make(kind=LabelKind.SINGLE))


def test_a_folder_with_auto_is_that_of_the_resolved_config_and_keeps_its_identity(tmp_path):
    """Version 0.1.0 wrote `auto`, also into checkpoints."""
    manifest, config = make(), TrainConfig(data=DataConfig(bands="S2"))
    bands = manifest.select_bands("S2")
    old = make_run_settings(config, manifest, bands)
    assert old.config.loss.name == "auto"
    write_settings(tmp_path, old)
    assert claim(tmp_path, make_run_settings(resolve_config(config, manifest), manifest, bands)) == old.identity()
    other = resolve_config(dataclasses.replace(config, best_metric="micro_f1"), manifest)
    with pytest.raises(ValueError, match='-   "best_metric": "macro_f1"'):
        claim(tmp_path, make_run_settings(other, manifest, bands))
