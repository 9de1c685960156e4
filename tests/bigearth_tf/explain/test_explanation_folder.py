"""The folder of explanations, patches of records and windows of scenes, and the importance of bands."""

import csv
import json

import matplotlib.image
import numpy as np
import pytest
from osgeo import gdal
from sklearn.metrics import f1_score

from bigearth_tf.data.bands import BANDS, get_bands
from bigearth_tf.data.label_kind import LabelKind
from bigearth_tf.data.sharded_dataset import ShardedDataset
from bigearth_tf.explain import Explainer, Settings, read_patches
from bigearth_tf.explain.band_importance import format_csv, measure_band_importance
from bigearth_tf.explain.explanation_folder import Request, explain_patches
from bigearth_tf.explain.occlusion import Windows
from bigearth_tf.explain.pictures import draw_band_importance
from bigearth_tf.explain.scene_window import SceneWindows
from bigearth_tf.serving.model_inputs import ModelInputs
from tests.support.records import write_records
from tests.support.scenes import CORNER, Grid, wkt, write_band_files, write_raster

CLASSES = ("dark", "bright", "striped")
COARSE = Settings(Windows(30, 30))


def takes(bands, class_names=CLASSES):
    return ModelInputs(tuple(bands), tuple(class_names), LabelKind.MULTI, dataset="test", level=None)


def score_by_red(batch):
    """Returns logits [N, 3]: "bright" follows the mean of B04, a little that of B03; B02 does not count."""
    means = {name: (batch[name].mean((1, 2)) - BANDS[name].mean) / BANDS[name].std for name in batch}
    bright = means["B04"] + 0.1 * means["B03"]
    return np.stack([-bright, bright, np.full(len(bright), -3.0)], axis=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    write_records(folder, {"train": 2, "test": 7})
    return ShardedDataset.open(folder)


@pytest.fixture(scope="module")
def explainer():
    return Explainer(score_by_red, takes(get_bands("RGB")))


def test_patches_are_found_by_id_or_are_the_first(data):
    bands = get_bands("RGB")
    first = list(read_patches(data, "test", bands, count=3))
    assert len(first) == 3
    assert len(list(read_patches(data, "test", bands, count=99))) == 7
    (one,) = read_patches(data, "test", bands, patch_ids=["test_005"])
    assert (one.patch_id, one.labels, one.georeference) == ("test_005", ("bright",), None)
    assert one.bands["B04"].dtype == np.uint16
    assert one.bands["B04"].shape == (120, 120)
    with pytest.raises(ValueError, match="split test has no patch nobody, test_099"):
        list(read_patches(data, "test", bands, patch_ids=["test_001", "nobody", "test_099"]))


def test_each_patch_gets_a_picture_maps_and_numbers_and_is_explained_once(data, explainer, tmp_path):
    request = Request("a model", "a split", ("occlusion",), None, COARSE)
    output = tmp_path / "why"
    rows = explain_patches(explainer, read_patches(data, "test", get_bands("RGB"), count=2), request, output)
    names = [row["patch_id"] for row in rows]
    assert [row["folder"] for row in rows] == names
    patch = next(read_patches(data, "test", get_bands("RGB"), patch_ids=names[:1]))
    found = np.load(output / names[0] / "maps.npz")["occlusion"]
    expected = explainer.explain(patch.bands, method="occlusion", settings=COARSE)
    np.testing.assert_array_equal(found, expected.values)
    (numbers,) = json.loads((output / names[0] / "attributions.json").read_text())
    assert numbers["class_name"] == expected.class_name
    assert numbers["probability"] == pytest.approx(expected.probability)
    picture = matplotlib.image.imread(output / names[0] / "attributions.png")
    assert picture.shape[1] > picture.shape[0] > 300
    # A third patch is added; those that are there are not computed again.
    marker = output / names[0] / "marker"
    marker.touch()
    rows = explain_patches(explainer, read_patches(data, "test", get_bands("RGB"), count=3), request, output)
    assert marker.exists()
    with (output / "attributions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["patch_id"] for row in table] == [row["patch_id"] for row in rows]
    assert len(table) == 3
    assert float(table[0]["probability"]) == pytest.approx(numbers["probability"], abs=1e-6)
    assert not list(output.glob(".*"))


def test_a_folder_of_other_explanations_or_other_files_is_refused(data, explainer, tmp_path):
    patches = list(read_patches(data, "test", get_bands("RGB"), count=1))
    explain_patches(
        explainer, patches, Request("a model", "a split", ("occlusion",), "bright", COARSE), tmp_path / "why"
    )
    with pytest.raises(ValueError, match=r"holds explanations with class_name='bright'\. Name another --output_dir"):
        explain_patches(
            explainer, patches, Request("a model", "a split", ("occlusion",), "dark", COARSE), tmp_path / "why"
        )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="not empty and holds no explanations"):
        explain_patches(explainer, patches, Request("a model", "a split", ("occlusion",)), tmp_path / "other")
    with pytest.raises(ValueError, match="no class 'sea'"):
        explain_patches(explainer, patches, Request("a model", "a split", ("occlusion",), "sea"), tmp_path / "new")
    with pytest.raises(ValueError, match="grad_cam needs gradients"):
        explain_patches(explainer, patches, Request("a model", "a split", ("grad_cam",)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_window_of_a_scene_is_explained_at_its_place(tmp_path):
    """The class reads one band; a bright square of it is found at its coordinates."""
    rng = np.random.default_rng(0)
    scene = {"B04": rng.integers(300, 320, (360, 480)).astype("uint16"), "B05": np.full((180, 240), 500, "uint16")}
    scene["B04"][150:170, 260:280] = 4000
    folder = write_band_files(tmp_path / "scene", scene)

    def score(batch):
        return batch["B04"].mean((1, 2))[:, np.newaxis] / 100

    explainer = Explainer(score, takes(get_bands("B04,B05"), ("bright",)))
    patches = list(SceneWindows.open(folder, explainer.inputs, dn_offset=0).read([(200, 100), (0, 0)]))
    np.testing.assert_array_equal(patches[0].bands["B04"], scene["B04"][100:220, 200:320])
    np.testing.assert_array_equal(patches[0].bands["B05"], scene["B05"][50:110, 100:160])
    request = Request("a model", "a scene", ("occlusion",), "bright", Settings(Windows(10, 10)))
    (row, _) = explain_patches(explainer, patches, request, tmp_path / "why")
    written = gdal.Open(str(tmp_path / "why" / row["folder"] / "maps.tif"))
    left, pixel_m, _, top, _, minus_pixel_m = written.GetGeoTransform()
    assert (left, top, pixel_m, minus_pixel_m) == (CORNER[0] + 2000, CORNER[1] - 1000, 10, -10)
    assert "33N" in written.GetSpatialRef().GetName()
    band = written.GetRasterBand(1)
    assert (band.DataType, band.GetDescription(), band.GetUnitType()) == (
        gdal.GDT_Float32,
        "occlusion",
        "logit per pixel",
    )
    values = band.ReadAsArray()
    rows, columns = np.nonzero(values > 0.5 * values.max())
    # 150 - 100 and 260 - 200, for 20 px.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 69, 60, 79)


def test_another_offset_is_another_scene(tmp_path):
    inputs = takes(get_bands("B04"), ("bright",))
    folder = write_band_files(tmp_path / "scene", {"B04": np.full((120, 120), 2000, "uint16")})
    same, again, other = (SceneWindows.open(folder, inputs, dn_offset=offset) for offset in (0, 0, -1000))
    assert same.identity() == again.identity() != other.identity()
    (patch,) = other.read([(0, 0)])
    assert (patch.bands["B04"].min(), patch.bands["B04"].max()) == (1000, 1000)


def test_windows_that_do_not_fit_a_scene_are_refused(tmp_path):
    inputs = takes(get_bands("B04,B01"), ("bright",))
    grid = Grid(crs_wkt=wkt())
    bands = {"B04": np.full((240, 240), 500, "uint16"), "B01": np.full((40, 40), 500, "uint16")}
    folder = write_band_files(tmp_path / "scene", bands, grid)
    for corner, message in (
        ((3, 0), r"cannot start at x=3: allowed are the multiples of 6 from 0 to 120"),
        ((0, 126), r"cannot start at y=126: allowed are the multiples of 6 from 0 to 120"),
    ):
        with pytest.raises(ValueError, match=message):
            list(SceneWindows.open(folder, inputs, dn_offset=0).read([corner]))
    bands = {"B04": np.zeros((120, 120), "uint16"), "B01": np.zeros((20, 20), "uint16")}
    with pytest.raises(ValueError, match="window at x=0, y=0 has no data"):
        list(SceneWindows.open(write_band_files(tmp_path / "empty", bands, grid), inputs, dn_offset=0).read([(0, 0)]))
    small = write_raster(tmp_path / "small.tif", [np.full((60, 60), 5, "uint16")], grid, names=["B04"])
    with pytest.raises(ValueError, match=r"60 x 60 px, smaller than the model's patches of 120 px"):
        list(SceneWindows.open(small, takes(get_bands("B04"), ("bright",)), dn_offset=0).read([(0, 0)]))


def test_the_importance_of_bands_is_what_the_model_loses_without_them(data, explainer, tmp_path):
    counted = []
    table = measure_band_importance(explainer, data, "test", batch_size=3, report=counted.append)
    assert sum(counted) == table.num_records == 7
    assert [row.band for row in table.rows] == ["B04", "B03", "B02"]
    red, green, blue = table.rows
    assert blue.score_loss == blue.logit_loss == blue.logit_change == 0
    patches = list(read_patches(data, "test", get_bands("RGB"), count=7))
    truth = np.array([[name in patch.labels for name in CLASSES] for patch in patches])
    predicted = np.array([explainer.logits(patch.bands) > 0 for patch in patches])
    assert (table.score_name, table.score) == ("micro_f1", pytest.approx(f1_score(truth, predicted, average="micro")))
    losses = [(p.bands["B04"].mean() - round(BANDS["B04"].mean)) / BANDS["B04"].std for p in patches]
    bright = [loss for loss, patch in zip(losses, patches) if "bright" in patch.labels]
    assert red.class_losses["bright"] == pytest.approx(np.mean(bright), rel=1e-3)
    assert red.logit_change == pytest.approx(2 / 3 * np.mean(np.abs(losses)), rel=1e-3)
    assert red.logit_loss > 5 * green.logit_loss > 0
    assert red.score == pytest.approx(table.score - red.score_loss)
    text = format_csv(table).splitlines()
    assert text[0].startswith("band,micro_f1,micro_f1_loss,logit_loss,logit_change,logit_loss/dark,")
    assert text[1].startswith("all bands,0.")
    assert [line.split(",")[0] for line in text[2:]] == ["B04", "B03", "B02"]
    draw_band_importance(tmp_path / "bands.png", table)
    assert (tmp_path / "bands.png").read_bytes().startswith(b"\x89PNG")
