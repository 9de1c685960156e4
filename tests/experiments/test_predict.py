"""The command predict: what it prints and writes for records, chips and a broken patch, and how it ends."""

import os

import numpy as np
import pandas
import pytest

from bigearth_tf.data.bands import get_bands
from tests.support import warm_python
from tests.support.chips import land, write_chip
from tests.support.paths import REPOSITORY
from tests.support.tiny_models import expected_probability, write_means_model

CLASSES = ("Lakes", "Fields; hedges and other land with a name that is long", "Sand")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model and five chips, one of which is cut."""
    root = tmp_path_factory.mktemp("predict")
    write_means_model(root / "model", get_bands("B02,B03,B04"), CLASSES)
    for number in range(5):
        bands = {name: land(number, name, 120) for name in ("B04", "B03", "B02")}
        write_chip(root / "chips" / f"chip_{number}.tif", bands)
    cut = root / "chips" / "chip_3.tif"
    cut.write_bytes(cut.read_bytes()[:2000])
    return root


def run(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return warm_python.run(["-m", "experiments.predict", "--model_dir=model", *arguments], cwd=folder, env=environment)


def test_chips_are_predicted_and_a_cut_one_is_listed(folder):
    result = run(folder, "--input=chips", "--output_dir=out", "--level=L2A", "--csv", "--show=2")
    assert result.returncode == 0, result.stderr
    assert "chips: taken for GeoTIFFs\n5 files with several bands in chips\n" in result.stdout
    probability = expected_probability(float(np.mean(land(0, "B04", 120))))
    assert f"chip_0\n  predicted  no class: the most probable is Sand {probability:.2f}\n" in result.stdout
    assert "\n  true " not in result.stdout
    assert "1 of 5 inputs could not be predicted, as problems.csv says; the first: chips/chip_3.tif: " in result.stdout
    table = pandas.read_parquet(folder / "out" / "predictions.parquet")
    assert list(table["patch_id"]) == ["chip_0", "chip_1", "chip_2", "chip_4"]
    mean = float(np.mean(land(2, "B04", 120)))
    assert table["probability/Sand"][2] == pytest.approx(expected_probability(mean), abs=1e-6)
    assert (folder / "out" / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "out" / "predictions.csv").read_text().splitlines()) == 5
    again = run(folder, "--input=chips", "--output_dir=out", "--level=L2A", "--csv", "--show=2")
    assert again.stdout == result.stdout
    other = run(folder, "--input=chips", "--output_dir=out", "--level=L2A", "--threshold=0.3")
    assert other.returncode == 1
    assert "has predictions that differ in options. Name another --output_dir" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=chips"], "Say --level=L2A"),
        (["--input=chips", "--level=L2A", "--threshold=0"], "--threshold=0.0: expected a probability"),
        (["--input=chips", "--level=L2A", "--strict"], "chip_3.tif"),
        (["--input=nowhere"], "nowhere: no such folder or tar"),
        ([], "Name what to predict with --input"),
    ],
)
def test_what_cannot_be_predicted_is_one_message(folder, tmp_path, arguments, message):
    result = run(folder, f"--output_dir={tmp_path / 'out'}", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
