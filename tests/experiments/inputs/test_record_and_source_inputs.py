"""Inputs that are records or a data set in its published layout: labels, splits, attributes, and what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest

from bigearth_tf.data.datasets.eurosat_ms import CLASS_NAMES as EUROSAT_CLASSES
from bigearth_tf.data.datasets.eurosat_ms import SPEC as EUROSAT
from bigearth_tf.data.datasets.sen12ms import CLASS_NAMES as SEN12MS_CLASSES
from bigearth_tf.data.datasets.sen12ms import SPEC as SEN12MS
from bigearth_tf.data.labels import CLASSES_43
from bigearth_tf.serving.patch_inputs import InputPatch, InputProblem
from experiments.shared.inputs.options import OTHER_LABELS, InputOptions
from experiments.shared.inputs.recognize import open_inputs
from tests.support import bigearthnet_v2, eurosat_ms, sen12ms
from tests.support.archives import S1_NAMES, S2_NAMES, constant_pixels, random_pixels, write_lists, write_pair
from tests.support.chips import describe_model
from tests.support.geotiffs import write_image
from tests.support.records import CLASS_NAMES, write_records

MODEL = describe_model("B03,B05")
NONE = InputOptions()


def read(what, options=NONE, model=MODEL):
    opened = open_inputs(None if what is None else str(what), model, options)
    items = list(opened.inputs.read())
    assert len(items) == len(opened.inputs)
    return items, opened


# --- Records.


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "records"
    write_records(folder, {"train": 6, "test": 5}, bands="B02,B03,B05")
    return folder


RECORD_MODEL = describe_model("B05,B03", class_names=CLASS_NAMES, dataset="test")


def test_records_are_predicted_with_their_labels_and_splits(records):
    items, opened = read(records, model=RECORD_MODEL)
    assert [patch.attributes["split"] for patch in items] == ["train"] * 6 + ["test"] * 5
    assert items[0].labels == ("dark", "striped")  # Record 0 of a split.
    assert {name: array.shape for name, array in items[0].bands.items()} == {"B05": (60, 60), "B03": (120, 120)}
    assert opened.lines[0].endswith(": taken for a folder of records")
    some, _ = read(records, InputOptions(split="test"), RECORD_MODEL)
    assert [patch.patch_id for patch in some] == [f"test_{number:03d}" for number in range(5)]
    resumed = list(opened.inputs.read(4))
    assert [patch.patch_id for patch in resumed] == [patch.patch_id for patch in items[4:]]
    np.testing.assert_array_equal(resumed[0].bands["B03"], items[4].bands["B03"])
    with pytest.raises(ValueError, match="No split 'val' in this data set; it has train, test"):
        read(records, InputOptions(split="val"), RECORD_MODEL)


def test_labels_of_other_classes_become_an_attribute(records):
    items, opened = read(records, model=describe_model("B03", dataset="test"))
    assert items[0].labels is None
    assert items[0].attributes[OTHER_LABELS] == "dark; striped"
    assert any("column labels_of_source has them" in line for line in opened.lines)


def test_records_that_do_not_fit_the_model_are_refused(records):
    with pytest.raises(ValueError, match=r"The model takes band B11; the records in .* have B02, B03, B05"):
        read(records, model=describe_model("B03,B11", dataset="test"))
    table = {band.name: band for band in EUROSAT.bands}
    with pytest.raises(ValueError, match=r"takes band B03 with size_px 64; in the records .* it is 120"):
        read(records, model=describe_model("B03", dataset="eurosat_ms", table=table))
    with pytest.raises(ValueError, match="Records take no --dn_offset"):
        read(records, InputOptions(dn_offset=0), RECORD_MODEL)
    with pytest.raises(ValueError, match="Say --level=L2A if they are"):
        read(records, model=MODEL)  # The data set "test" is not known.
    assert len(read(records, InputOptions(level="L2A"), MODEL)[0]) == 11


def test_records_of_a_shard_that_is_damaged_are_problems(tmp_path):
    manifest = write_records(tmp_path / "records", {"test": 6}, bands="B03")
    shard = tmp_path / "records" / manifest.shards[0].name
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF  # In the second of its three records.
    shard.write_bytes(content)
    items, opened = read(tmp_path / "records", model=describe_model("B03", class_names=CLASS_NAMES, dataset="test"))
    assert [isinstance(item, InputPatch) for item in items] == [True, False, False, True, True, True]
    assert items[1].name == f"{shard.name}: record 1"
    assert "its bytes are damaged" in items[1].problem
    assert items[2] == InputProblem(f"{shard.name}: record 2", items[1].problem)
    assert [isinstance(item, InputPatch) for item in opened.inputs.read(2)] == [False, True, True, True]


# --- BigEarthNet v1.


@pytest.fixture(scope="module")
def v1(tmp_path_factory):
    root = tmp_path_factory.mktemp("v1")
    for index in range(4):
        write_pair(root, index, ["Pastures", "Water bodies"], lambda band, index=index: random_pixels(band, index))
    write_lists(root / "lists", {"train": [0, 1], "test": [2]})
    return root


def test_patches_of_v1_have_labels_and_attributes_and_need_no_list(v1):
    options = InputOptions(source="bigearthnet_v1", lists_dir=str(v1 / "lists"))
    items, _ = read(v1 / "s2", options)
    assert [patch.patch_id for patch in items] == list(S2_NAMES[:4])
    assert items[0].labels == ("Pastures", "Inland waters")
    assert items[0].attributes == {"country": "Austria", "season": "Summer"}
    # The same as by the former flag.
    np.testing.assert_array_equal(read(None, InputOptions(s2=str(v1 / "s2")))[0][3].bands["B05"], items[3].bands["B05"])
    test, _ = read(v1 / "s2", dataclasses.replace(options, split="test"))
    assert [patch.patch_id for patch in test] == [S2_NAMES[2]]
    with pytest.raises(ValueError, match="the splits of bigearthnet_v1 are in its lists: name them with --lists_dir"):
        read(v1 / "s2", InputOptions(source="bigearthnet_v1", split="test"))
    in_43, _ = read(v1 / "s2", options, describe_model("B03", class_names=CLASSES_43))
    assert in_43[0].labels == ("Pastures", "Water bodies")
    other, _ = read(v1 / "s2", options, describe_model("B03", class_names=("Crops", "Rest"), dataset="own"))
    assert (other[0].labels, other[0].attributes[OTHER_LABELS]) == (None, "Pastures; Water bodies")


def test_pairs_and_one_sensor_of_v1(v1):
    model = describe_model("VV,B03")
    items, _ = read(None, InputOptions(s2=str(v1 / "s2"), s1=str(v1 / "s1")), model)
    np.testing.assert_array_equal(items[1].bands["VV"], random_pixels(model.bands[0], 1))
    items, _ = read(v1 / "s1", InputOptions(source="bigearthnet_v1"), describe_model("VV"))
    assert items[0].patch_id == S1_NAMES[0]
    with pytest.raises(ValueError, match="takes bands of S1 and S2: name the folders with --s2 and --s1"):
        read(v1 / "s2", InputOptions(source="bigearthnet_v1"), model)
    with pytest.raises(ValueError, match="The model takes band VV; 4 patches of bigearthnet_v1"):
        read(None, InputOptions(s2=str(v1 / "s2")), model)
    with pytest.raises(ValueError, match="Inputs without --source take no --metadata"):
        read(v1 / "s2", InputOptions(metadata="x.parquet"))


def test_labels_of_v1_are_optional_and_a_broken_patch_is_a_problem(tmp_path):
    folders = [write_pair(tmp_path, index, ["Pastures"], constant_pixels)[0] for index in range(3)]
    (folders[0] / f"{S2_NAMES[0]}_labels_metadata.json").unlink()
    (folders[1] / f"{S2_NAMES[1]}_B05.tif").unlink()
    items, _ = read(None, InputOptions(s2=str(tmp_path / "s2")))
    assert items[0].labels is None
    assert "B05.tif: the file is missing" in items[1].problem
    assert items[2].labels == ("Pastures",)


# --- BigEarthNet v2, EuroSAT, SEN12MS.


def test_patches_of_v2_with_and_without_metadata(tmp_path):
    bigearthnet_v2.write_tree(tmp_path, indices=range(6))
    bigearthnet_v2.table().to_parquet(tmp_path / "metadata.parquet")
    options = InputOptions(source="bigearthnet_v2", metadata=str(tmp_path / "metadata.parquet"))
    model = describe_model("B03,B05", dataset="bigearthnet_v2")
    items, _ = read(tmp_path / "BigEarthNet-S2", options, model)
    assert {patch.patch_id for patch in items} == set(bigearthnet_v2.S2_NAMES[:6])  # Snow and cloud too.
    by_id = {patch.patch_id: patch for patch in items}
    first = by_id[bigearthnet_v2.S2_NAMES[0]]
    assert first.labels == ("Arable land", "Pastures")
    assert first.attributes["country"] == "Kosovo"
    assert first.attributes["split"] == "train"
    unlabeled, opened = read(tmp_path / "BigEarthNet-S2", InputOptions(source="bigearthnet_v2"), model)
    assert any("The labels are not known" in line for line in opened.lines)
    for patch in unlabeled:
        assert patch.labels is None
        np.testing.assert_array_equal(patch.bands["B05"], by_id[patch.patch_id].bands["B05"])
    test = InputOptions(source="bigearthnet_v2", metadata=str(tmp_path / "metadata.parquet"), split="test")
    assert len(read(tmp_path / "BigEarthNet-S2", test, model)[0]) == 2


def test_images_of_eurosat(tmp_path):
    for name in ("Forest_1", "River_7"):
        write_image(tmp_path / name.split("_")[0] / f"{name}.tif", eurosat_ms.pixels_of(name))
    table = {band.name: band for band in EUROSAT.bands}
    model = describe_model("B8A,B02", EUROSAT_CLASSES, "eurosat_ms", table)
    items, _ = read(tmp_path, InputOptions(source="eurosat_ms"), model)
    assert [patch.labels for patch in items] == [("Forest",), ("River",)]
    np.testing.assert_array_equal(items[1].bands["B8A"], eurosat_ms.pixels_of("River_7")[12])
    for name in ("Forest_1", "River_7"):
        write_image(tmp_path / "unlabeled" / f"{name}.tif", eurosat_ms.pixels_of(name))
    unlabeled, _ = read(tmp_path / "unlabeled", InputOptions(source="eurosat_ms"), model)
    assert [patch.labels for patch in unlabeled] == [None, None]
    np.testing.assert_array_equal(unlabeled[1].bands["B8A"], items[1].bands["B8A"])
    shutil.rmtree(tmp_path / "unlabeled")
    with pytest.raises(ValueError, match="takes band B03 with size_px 120; in .*eurosat_ms.* it is 64"):
        read(tmp_path, InputOptions(source="eurosat_ms"))
    same_size = describe_model("B02", EUROSAT_CLASSES, "bigearthnet_v1", table)
    with pytest.raises(ValueError, match=r"The inputs are L1C .*source eurosat_ms"):
        read(tmp_path, InputOptions(source="eurosat_ms"), same_size)


def test_patches_of_sen12ms(tmp_path):
    sen12ms.write_triple(tmp_path, "ROIs1158_spring_1_p30", {1: 40000, 17: 256 * 256 - 40000})
    table = {band.name: band for band in SEN12MS.bands}
    model = describe_model("B10,VV", SEN12MS_CLASSES, "sen12ms", table)
    (patch,), _ = read(tmp_path, InputOptions(source="sen12ms", label_kind="multi"), model)
    assert patch.labels == ("Forest", "Water")
    assert patch.bands["VV"].shape == (256, 256)
    for path in tmp_path.rglob("*_lc_*.tif"):
        path.unlink()
    (unlabeled,), opened = read(tmp_path, InputOptions(source="sen12ms"), model)
    assert unlabeled.labels is None
    assert "with s1, s2 in" in opened.lines[0]
    np.testing.assert_array_equal(unlabeled.bands["B10"], patch.bands["B10"])
    sen12ms.write_triple(tmp_path, "ROIs1158_spring_1_p31", {1: 256 * 256})
    for path in [*tmp_path.rglob("*_lc_*.tif"), *tmp_path.rglob("*_s2_1_p31.tif")]:
        path.unlink()
    items, _ = read(tmp_path, InputOptions(source="sen12ms"), model)
    assert items[1].problem == "ROIs1158_spring_1_p31: band B10, which the model takes, is missing."
