"""Inputs that are GeoTIFFs of any layout: bands by name, sizes, units, and what is refused."""

import tarfile

import numpy as np
import pandas
import pytest

from bigearth_tf.data.bands import BANDS
from bigearth_tf.serving.patch_inputs import InputPatch, InputProblem
from experiments.shared.inputs.options import OTHER_LABELS, InputOptions
from experiments.shared.inputs.recognize import open_inputs
from tests.support.archives import write_pair
from tests.support.chips import describe_model, land, write_chip

MODEL = describe_model()
L2A = InputOptions(level="L2A")
NATIVE = {"B02": 120, "B05": 60, "B11": 60}


def grid(number, names=("B02", "B05", "B11")):
    """Returns bands on one grid of 10 m, those of 20 m enlarged by repetition."""
    return {
        name: land(number, name, BANDS[name].size_px)
        .repeat(120 // BANDS[name].size_px, 0)
        .repeat(120 // BANDS[name].size_px, 1)
        for name in names
    }


def write_chips(folder, count=3, names=("B02", "B05", "B11"), **options):
    for number in range(count):
        write_chip(folder / f"chip_{number}.tif", grid(number, names), **options)
    return folder


def read(what, options=L2A, model=MODEL):
    opened = open_inputs(str(what), model, options)
    return list(opened.inputs.read()), opened


def check_patch(patch, number):
    """Checks that every band has the native pixels of this patch."""
    assert isinstance(patch, InputPatch), patch
    assert sorted(patch.bands) == sorted(NATIVE)
    for name, size_px in NATIVE.items():
        assert patch.bands[name].dtype == np.uint16
        np.testing.assert_array_equal(patch.bands[name], land(number, name, size_px), err_msg=name)


# --- Files of several bands.


def test_bands_are_matched_by_their_descriptions_in_any_order_and_spelling(tmp_path):
    write_chip(tmp_path / "a.tif", grid(0))
    swapped = {"Sentinel-2 B11": grid(1)["B11"], "gray": grid(0)["B02"], "b5": grid(1)["B05"], "B2": grid(1)["B02"]}
    write_chip(tmp_path / "b.tiff", swapped)
    (first, second), opened = read(tmp_path)
    assert (first.patch_id, second.patch_id) == ("a", "b")
    check_patch(first, 0)
    check_patch(second, 1)
    assert opened.lines[0].endswith(": taken for GeoTIFFs")
    assert "2 files with several bands" in opened.lines[1]
    assert "averaged to it: B05 (120 to 60 px), B11 (120 to 60 px)" in "\n".join(opened.lines)
    assert first.labels is None


def test_bands_without_descriptions_need_an_order(tmp_path):
    write_chips(tmp_path, described=False)
    with pytest.raises(ValueError, match=r"chip_0.tif: nothing names its 3 bands .* --band_order=B02,"):
        read(tmp_path)
    patches, _ = read(tmp_path, InputOptions(level="L2A", band_order=("B02", "b5", "B11")))
    for number, patch in enumerate(patches):
        check_patch(patch, number)
    with pytest.raises(ValueError, match="has 3 bands, --band_order names 2"):
        read(tmp_path, InputOptions(level="L2A", band_order=("B02", "B05")))
    write_chips(tmp_path / "four", names=("B08", "B02", "B05", "B11"), described=False)
    patches, _ = read(tmp_path / "four", InputOptions(level="L2A", band_order=("-", "B02", "B05", "B11")))
    check_patch(patches[2], 2)


def test_an_order_that_contradicts_the_descriptions_is_refused(tmp_path):
    write_chips(tmp_path)
    with pytest.raises(
        ValueError, match=r"contradicts its band descriptions: band 1 is B02, not B05; 2 is B05, not B02"
    ):
        read(tmp_path, InputOptions(level="L2A", band_order=("B05", "B02", "B11")))


def test_bands_that_are_missing_or_named_twice_are_refused(tmp_path):
    write_chips(tmp_path / "missing", names=("B02", "B05"))
    with pytest.raises(ValueError, match=r"None of 3 .*band B11, which the model takes, is missing"):
        read(tmp_path / "missing")
    write_chip(tmp_path / "twice" / "a.tif", {"B02": grid(0)["B02"], "band B2": grid(0)["B02"]})
    with pytest.raises(ValueError, match="several of its bands are B02"):
        read(tmp_path / "twice")


def test_the_order_of_a_data_set_can_be_named(tmp_path):
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
    pixels = {name: np.full((64, 64), 100 + index, np.uint16) for index, name in enumerate(names)}
    for array in pixels.values():
        array[:10] = 2000
    write_chip(tmp_path / "unknown.tif", pixels, described=False)
    from bigearth_tf.data.datasets.eurosat_ms import SPEC

    model = describe_model("B09,B10,B8A", dataset="eurosat_ms", table={band.name: band for band in SPEC.bands})
    (patch,), _ = read(tmp_path, InputOptions(band_order=("eurosat_ms",)), model)
    assert [int(patch.bands[name][-1, -1]) for name in ("B09", "B10", "B8A")] == [108, 109, 112]
    (tmp_path / "table.csv").write_text("path\nunknown.tif\n")
    (listed,), _ = read(tmp_path / "table.csv", InputOptions(band_order=("eurosat_ms",)), model)
    np.testing.assert_array_equal(listed.bands["B8A"], patch.bands["B8A"])
    # Its pixels are Level-1C.
    with pytest.raises(ValueError, match=r"inputs are L1C .*--band_order=eurosat_ms.* trained on L2A"):
        read(tmp_path, InputOptions(band_order=("eurosat_ms",)), describe_model("B02"))


@pytest.mark.parametrize("pattern", ["*.tif", "chip_*.tif", "**/chip_[02].tif"])
def test_a_pattern_and_a_file_are_taken(tmp_path, pattern):
    write_chips(tmp_path)
    patches, _ = read(tmp_path / pattern)
    for patch in patches:
        check_patch(patch, int(patch.patch_id[-1]))
    assert len(patches) == (2 if "[" in pattern else 3)
    (patch,), _ = read(tmp_path / "chip_1.tif")
    check_patch(patch, 1)


def test_a_broken_file_is_a_problem_of_its_own(tmp_path):
    write_chips(tmp_path, count=20)
    path = tmp_path / "chip_7.tif"
    path.write_bytes(path.read_bytes()[:5000])
    write_chip(tmp_path / "chip_8.tif", {name: pixels[:60, :60] for name, pixels in grid(8).items()})
    items, _ = read(tmp_path)
    problems = {item.name: item.problem for item in items if isinstance(item, InputProblem)}
    assert sorted(problems) == ["chip_7", "chip_8"]
    assert "chip_7.tif: " in problems["chip_7"]
    assert "chip_8: band B02: is 60 x 60 px, the model takes 120 x 120 px" in problems["chip_8"]
    assert sum(isinstance(item, InputPatch) for item in items) == 18


def test_a_whole_scene_is_not_a_patch(tmp_path):
    write_chip(tmp_path / "scene.tif", {"B02": np.zeros((800, 900), np.uint16)})
    with pytest.raises(ValueError, match=r"has 900 x 800 px; expected a patch of at most 720 px.*map it by"):
        read(tmp_path)


def test_nothing_and_a_mixture_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no GeoTIFF here"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")
    write_chip(tmp_path / "patch_B02.tif", {"B02": grid(0)["B02"]})
    write_chip(tmp_path / "chip.tif", grid(0))
    with pytest.raises(ValueError, match=r"1 of 2 files are bands by their names, such as .*patch_B02.tif"):
        read(tmp_path)


# --- Sizes.


def test_a_finer_grid_than_the_finest_band_needs_a_georeference(tmp_path):
    fine = {name: pixels.repeat(2, 0).repeat(2, 1) for name, pixels in grid(0).items()}
    write_chip(tmp_path / "a" / "chip.tif", fine, pixel_m=None)
    with pytest.raises(ValueError, match="2 times as many pixels a side as the model takes, and no georeference"):
        read(tmp_path / "a")
    write_chip(tmp_path / "b" / "chip.tif", fine, pixel_m=5)
    check_patch(read(tmp_path / "b")[0][0], 0)
    # The same pixels, of twice the ground: not a patch of this model.
    write_chip(tmp_path / "c" / "chip.tif", fine, pixel_m=10)
    with pytest.raises(ValueError, match=r"band B02 covers 2400 m, a patch of the model 1200 m"):
        read(tmp_path / "c")


def test_one_patch_of_another_extent_is_a_problem(tmp_path):
    write_chips(tmp_path, count=130)  # More than are looked at before.
    write_chip(tmp_path / "chip_101.tif", grid(1), pixel_m=20)
    fine = {name: pixels.repeat(2, 0).repeat(2, 1) for name, pixels in grid(103).items()}
    write_chip(tmp_path / "chip_103.tif", fine, pixel_m=5)
    items, _ = read(tmp_path, InputOptions(level="L2A", dn_offset=0))
    by_name = {item.patch_id if isinstance(item, InputPatch) else item.name: item for item in items}
    assert [name for name, item in by_name.items() if isinstance(item, InputProblem)] == ["chip_101"]
    assert by_name["chip_101"].problem.startswith("chip_101: band B02 covers 2400 m, a patch of the model 1200 m")
    check_patch(by_name["chip_103"], 103)


def test_a_coarser_grid_is_refused(tmp_path):
    write_chip(tmp_path / "chip.tif", {name: pixels[::2, ::2] for name, pixels in grid(0).items()}, pixel_m=20)
    with pytest.raises(ValueError, match="band B02: is 60 x 60 px, the model takes 120 x 120 px"):
        read(tmp_path)


# --- Units and level.


def test_reflectance_is_converted_and_said(tmp_path):
    write_chip(tmp_path / "chip.tif", {name: (pixels / 1e4).astype(np.float32) for name, pixels in grid(0).items()})
    (patch,), opened = read(tmp_path)
    check_patch(patch, 0)
    assert any("multiplied by 10,000" in line for line in opened.lines)


def test_a_scale_and_an_offset_that_a_file_states_are_applied(tmp_path):
    with_offset = {name: pixels + np.uint16(1000) for name, pixels in grid(0).items()}
    with_offset["B02"][-1, -1] = 0
    write_chip(tmp_path / "chip.tif", with_offset, scale=(0.0001, -0.1))
    (patch,), _ = read(tmp_path)
    assert patch.bands["B02"][-1, -1] == 0
    patch.bands["B02"][-1, -1] = land(0, "B02", 120)[-1, -1]
    check_patch(patch, 0)


def test_the_offset_of_baseline_4_is_asked_for_or_read(tmp_path):
    with_offset = {name: pixels + np.uint16(1000) for name, pixels in grid(0).items()}
    write_chip(tmp_path / "a" / "chip_N0400.tif", with_offset)
    with pytest.raises(ValueError, match="--dn_offset=-1000 if BOA_ADD_OFFSET"):
        read(tmp_path / "a")
    (patch,), _ = read(tmp_path / "a", InputOptions(level="L2A", dn_offset=-1000))
    check_patch(patch, 0)
    write_chip(tmp_path / "b" / "chip.tif", with_offset, metadata={"BOA_ADD_OFFSET": "-1000"})
    (patch,), opened = read(tmp_path / "b")
    check_patch(patch, 0)
    assert any("-1000 is added" in line for line in opened.lines)
    # The band states it too: it is not applied twice.
    write_chip(tmp_path / "c" / "chip.tif", with_offset, metadata={"BOA_ADD_OFFSET": "-1000"}, scale=(1e-4, -0.1))
    check_patch(read(tmp_path / "c")[0][0], 0)


def test_a_later_patch_that_may_have_the_offset_is_remarked(tmp_path):
    write_chips(tmp_path, count=5)
    # It sorts last, and is not looked at before.
    for number in range(128):
        write_chip(tmp_path / f"a_{number:03d}.tif", {"B02": land(0, "B02", 120)})
    with_offset = land(0, "B02", 120) + np.uint16(1000)
    with_offset[:30] = 0
    write_chip(tmp_path / "z.tif", {"B02": with_offset})
    items, _ = read(tmp_path, model=describe_model("B02"))
    assert [item.patch_id for item in items if item.remark] == ["z"]
    assert items[-1].remark == "may have the offset of baseline 04.00"
    items, _ = read(tmp_path, InputOptions(level="L2A", dn_offset=0), describe_model("B02"))
    assert not any(item.remark for item in items)


def test_the_level_is_told_or_asked_for(tmp_path):
    write_chips(tmp_path / "unknown")
    with pytest.raises(ValueError, match="Say --level=L2A if they are"):
        read(tmp_path / "unknown", InputOptions())
    write_chips(tmp_path / "S2A_MSIL2A_20200101")
    assert len(read(tmp_path / "S2A_MSIL2A_20200101", InputOptions())[0]) == 3
    write_chips(tmp_path / "product", metadata={"PRODUCT_TYPE": "S2MSI1C"})
    with pytest.raises(ValueError, match=r"inputs are L1C .*S2MSI1C"):
        read(tmp_path / "product", InputOptions())
    write_chip(tmp_path / "cirrus" / "chip.tif", {**grid(0), "B10": grid(0)["B02"]})
    with pytest.raises(ValueError, match="has B10, which Level-2A lacks"):
        read(tmp_path / "cirrus", InputOptions())
    with pytest.raises(ValueError, match="--level=L2A: the inputs are L1C"):
        read(tmp_path / "cirrus")


def test_all_that_must_be_said_is_asked_for_at_once(tmp_path):
    write_chip(tmp_path / "chip.tif", {name: pixels + np.uint16(1000) for name, pixels in grid(0).items()})
    with pytest.raises(ValueError, match=r"(?s)Say --level=L2A .*\n.*Say --dn_offset=-1000"):
        read(tmp_path, InputOptions())


def test_no_data_is_counted_and_a_patch_without_data_is_said(tmp_path):
    chip = grid(0)
    for pixels in chip.values():
        pixels[60:] = 0
    write_chip(tmp_path / "half.tif", chip)
    write_chip(tmp_path / "whole.tif", grid(1))
    (half, whole), _ = read(tmp_path)
    assert (half.no_data, whole.no_data) == (0.5, 0.0)
    chip = {name: np.where(pixels == 0, -9999, pixels).astype(np.int16) for name, pixels in chip.items()}
    write_chip(tmp_path / "signed" / "half.tif", chip)
    with pytest.raises(ValueError, match="--no_data=-9999"):
        read(tmp_path / "signed")
    (half,), _ = read(tmp_path / "signed", InputOptions(level="L2A", no_data=-9999))
    assert half.no_data == 0.5
    write_chip(tmp_path / "stated" / "half.tif", chip, no_data=-9999)
    assert read(tmp_path / "stated")[0][0].no_data == 0.5


def test_pictures_are_refused(tmp_path):
    write_chip(tmp_path / "chip.tif", {name: pixels.astype(np.uint8) for name, pixels in grid(0).items()})
    with pytest.raises(ValueError, match="values are uint8, as of a picture"):
        read(tmp_path)


# --- Files of one band each.


def write_patch(folder, number, prefix=""):
    for name, size_px in NATIVE.items():
        write_chip(folder / f"{prefix}{name}.tif", {"": land(number, name, size_px)}, pixel_m=1200 / size_px)


def test_a_folder_of_band_files_is_a_patch(tmp_path):
    write_patch(tmp_path / "north" / "lake", 0)
    write_patch(tmp_path / "south", 1, "T33UUP_2020_")
    items, opened = read(tmp_path)
    assert [patch.patch_id for patch in items] == ["lake", "south"]
    for number, patch in enumerate(items):
        check_patch(patch, number)
    assert "2 patches with a file for each band" in opened.lines[1]


def test_a_tar_is_read_in_place(tmp_path):
    write_patch(tmp_path / "tree" / "lake", 0)
    write_patch(tmp_path / "tree" / "sea", 1, "sea_")
    write_chips(tmp_path / "chips", count=2)
    for name in ("tree", "chips"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            tar.add(tmp_path / name, name)
        items, _ = read(tmp_path / f"{name}.tar")
        assert len(items) == 2
        for number, patch in enumerate(items):
            check_patch(patch, number)


def test_several_patches_in_one_folder_are_told_apart_by_their_names(tmp_path):
    write_patch(tmp_path, 0, "a_")
    write_patch(tmp_path, 1, "b_")
    items, _ = read(tmp_path)
    assert [patch.patch_id for patch in items] == ["a", "b"]
    check_patch(items[1], 1)
    write_chip(tmp_path / "a_B2.tif", {"": land(0, "B02", 120)})
    with pytest.raises(ValueError, match="are both band B02 of one patch"):
        read(tmp_path)


def test_a_patch_that_lacks_a_band_is_a_problem(tmp_path):
    write_patch(tmp_path / "a", 0)
    write_patch(tmp_path / "b", 1)
    (tmp_path / "b" / "B05.tif").unlink()
    items, _ = read(tmp_path)
    check_patch(items[0], 0)
    assert items[1] == InputProblem("b", "b: band B05, which the model takes, is missing.")


def test_patches_of_an_archive_need_no_labels(tmp_path):
    s2, _ = write_pair(tmp_path, 0, ["Pastures"])
    (s2 / f"{s2.name}_labels_metadata.json").unlink()
    (patch,), _ = read(tmp_path / "s2", InputOptions(dn_offset=0))
    assert patch.patch_id == s2.name
    assert patch.labels is None
    assert len(patch.bands) == 3


# --- Tables of paths.


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_lists_paths_with_labels_and_attributes(tmp_path, ending):
    write_chips(tmp_path / "chips", count=1)
    write_patch(tmp_path / "folder", 1)
    table = pandas.DataFrame(
        {
            "path": ["chips/chip_0.tif", "folder", "chips/missing.tif"],
            "labels": ["Pastures; Inland waters", "", ""],
            "country": ["Austria", "", "Norway"],
            "split": ["test", "test", "train"],
        }
    )
    path = tmp_path / f"patches.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    items, opened = read(path)
    check_patch(items[0], 0)
    check_patch(items[1], 1)
    assert (items[0].patch_id, items[0].labels) == ("chip_0", ("Pastures", "Inland waters"))
    assert (items[1].patch_id, items[1].labels) == ("folder", None)
    assert items[0].attributes == {"country": "Austria", "split": "test"}
    assert isinstance(items[2], InputProblem)
    assert "missing.tif: the file is missing" in items[2].problem
    assert len(read(path, InputOptions(level="L2A", split="test"))[0]) == 2
    with pytest.raises(ValueError, match=r"no row of split 'val'; it has test, train"):
        read(path, InputOptions(level="L2A", split="val"))
    assert opened.inputs.attributes == ("country", "split")


def test_labels_of_other_classes_are_shown_as_they_are(tmp_path):
    write_chips(tmp_path, count=1)
    path = tmp_path / "patches.csv"
    path.write_text("path,patch_id,labels\nchip_0.tif,here,Wheat; Pastures\n")
    (patch,), opened = read(path)
    assert (patch.patch_id, patch.labels) == ("here", None)
    assert patch.attributes == {OTHER_LABELS: "Wheat; Pastures"}
    assert opened.inputs.attributes == (OTHER_LABELS,)


@pytest.mark.parametrize(("text", "message"), [("file\na.tif\n", "a column path; it has 1 rows"), ("path\n", "0 rows")])
def test_a_table_without_paths_is_refused(tmp_path, text, message):
    path = tmp_path / "patches.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read(path)


# --- What identifies inputs.


def test_other_files_and_other_conversions_are_other_inputs(tmp_path):
    write_chips(tmp_path)
    first = read(tmp_path)[1].inputs.identity
    assert read(tmp_path)[1].inputs.identity == first
    assert read(tmp_path, InputOptions(level="L2A", dn_offset=-1000))[1].inputs.identity != first
    (tmp_path / "chip_2.tif").rename(tmp_path / "chip_3.tif")
    assert read(tmp_path)[1].inputs.identity != first
