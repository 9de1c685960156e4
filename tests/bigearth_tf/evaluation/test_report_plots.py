"""Pictures of an evaluation, for many and few classes, with and without classes that no record has."""

import numpy as np
import pytest
from PIL import Image

from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.labels import CLASSES_19
from bigearth_tf.evaluation.prediction_table import NamedPredictions, Predictions
from bigearth_tf.evaluation.report import EvaluationOptions, evaluate_table
from bigearth_tf.evaluation.report_plots import plot_evaluation


def make_table(num_classes, label_kind, prefix):
    rng = np.random.default_rng(len(prefix))
    labels = (rng.random((60, num_classes)) < 0.3).astype(np.float32)
    labels[:, 1] = 0
    if label_kind is LabelKind.SINGLE:
        labels = np.eye(num_classes, dtype=np.float32)[rng.integers(num_classes, size=60)]
    probabilities = np.clip(0.4 * labels + 0.7 * rng.random(labels.shape), 0, 1).astype(np.float32)
    return Predictions(np.array([f"{prefix}{index}" for index in range(60)]), labels, probabilities)


@pytest.mark.parametrize(
    ("num_classes", "label_kind", "tunes"),
    [(19, LabelKind.MULTI, True), (3, LabelKind.MULTI, False), (10, LabelKind.SINGLE, False)],
)
def test_pictures_are_drawn(tmp_path, num_classes, label_kind, tunes):
    names, table = CLASSES_19[:num_classes], make_table(num_classes, label_kind, "t")
    validation = make_table(num_classes, label_kind, "val") if tunes else None
    scores = evaluate_table(NamedPredictions(table, names, label_kind), validation, EvaluationOptions(10, 5))
    evaluation = {"about": {"model": "m", "dataset": "d", "split": "test"}, **scores}
    pictures = plot_evaluation(tmp_path, table, evaluation)
    assert {path.name for path in tmp_path.iterdir()} == set(pictures)
    assert [name for name in pictures if name.endswith(".pdf")] == [name[:-3] + "pdf" for name in pictures[:4]]
    for name in pictures[4:]:
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")
    for name in pictures[:4]:
        image = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert 300 < image.shape[0] < 2000, name
        assert 300 < image.shape[1] < 2000, name
        assert 0.005 < (image < 128).mean() < 0.5, name
