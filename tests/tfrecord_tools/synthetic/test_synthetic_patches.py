"""Synthetic patches: complete, repeatable, and learnable from all bands together but not from the mean of one band."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from bigearth_tf.data.bands import BANDS, S1, S2_ALL
from bigearth_tf.data.labels import CLASSES_19, CLASSES_43, label_indices, multi_hot, to_19_classes
from tests.support import warm_python
from tfrecord_tools.listing.archive import File
from tfrecord_tools.raster import geotiff
from tfrecord_tools.synthetic import land_cover_signatures as signatures
from tfrecord_tools.synthetic import synthetic_patches

NUM_PATCHES = 12


def list_names(output_dir, name):
    return (output_dir / synthetic_patches.LISTS_FOLDER / name).read_text(encoding="utf-8").split()


def contents(output_dir):
    return {
        path.relative_to(output_dir).as_posix(): path.read_bytes() for path in output_dir.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "synthetic"
    assert synthetic_patches.synthesize_archive(str(folder), NUM_PATCHES, 7, with_s1=True, workers=1) == NUM_PATCHES
    return folder


@pytest.fixture
def archive_copy(archive, tmp_path):
    return shutil.copytree(archive, tmp_path / "copy")


def test_names_match_the_archive_and_are_unique():
    # The first 20,000, and 20,000 around the index where the tiles start for the second time.
    indices = [*range(20000), *range(170000, 190000), synthetic_patches.MAX_PATCHES - 1]
    places = [synthetic_patches.place_patch(3, index) for index in indices]
    s2_names = {place.s2_name for place in places}
    s1_names = {place.s1_name for place in places}
    assert len(s2_names) == len(s1_names) == len(indices)
    assert all(re.fullmatch(r"S2[AB]_MSIL2A_201[78]\d{4}T\d{5,6}_\d{1,2}_\d{1,2}", name) for name in s2_names)
    pattern = r"S1[AB]_IW_GRDH_1SDV_201[78]\d{4}T\d{6}_\d\d[C-X][A-Z][A-V]_\d{1,2}_\d{1,2}"
    assert all(re.fullmatch(pattern, name) for name in s1_names)
    shorter = sum(len(place.time) == len("20170924T93020") for place in places)
    assert 0.02 < shorter / len(places) < 0.3
    assert {place.season for place in places} == {"Spring", "Summer", "Fall", "Winter"}


def test_scenes_never_share_a_second():
    scenes = range(
        0, 400 * synthetic_patches.TILE_SIDE**2 * len(synthetic_patches.TILES), synthetic_patches.TILE_SIDE**2 * 11
    )
    times = {
        (place.s2_acquired, place.tile): place.s2_name
        for place in (synthetic_patches.place_patch(0, i) for i in scenes)
    }
    assert len({acquired for acquired, _ in times}) == len(times)


def test_every_class_has_a_signature_and_a_parent():
    assert tuple(signatures.SIGNATURES) == CLASSES_43
    for name_19, shares in zip(CLASSES_19, signatures.CHILD_SHARES):
        assert {to_19_classes([child]) for child in shares} == {(name_19,)}
        assert sum(shares.values()) == pytest.approx(1.0)
    assert {row.texture for row in signatures.SIGNATURES.values()} >= {"stripes", "fields", "streets", "crowns"}
    for row in signatures.SIGNATURES.values():
        texture = signatures.draw_texture(row.texture, row.grain_m / 10, np.random.default_rng(0))
        assert texture.shape == (120, 120)
        assert texture.min() >= 0 and texture.max() <= 1 + 1e-6
        assert texture.std() > 0.05
    with pytest.raises(ValueError, match="plaid"):
        signatures.draw_texture("plaid", 5, np.random.default_rng(0))


def test_labels_are_drawn_as_often_as_in_the_archive():
    rng = np.random.default_rng(0)
    drawn = [signatures.draw_labels(rng) for _ in range(4000)]
    assert all(set(labels) <= set(CLASSES_43) and labels for labels in drawn)
    share = np.mean([multi_hot(label_indices(to_19_classes(labels), CLASSES_19), 19) for labels in drawn], axis=0)
    assert share.min() > 0
    assert 0.30 < share[CLASSES_19.index("Arable land")] < 0.46
    assert 0.10 < share[CLASSES_19.index("Marine waters")] < 0.20
    assert all(to_19_classes(signatures.draw_dropped_labels(rng)) == () for _ in range(100))


def test_files_are_read_back_bit_exact(archive):
    for index in range(NUM_PATCHES):
        place, patch = synthetic_patches.place_patch(7, index), synthetic_patches.create_patch(7, index)
        for folder, name, bands in (
            (synthetic_patches.S2_FOLDER, place.s2_name, S2_ALL),
            (synthetic_patches.S1_FOLDER, place.s1_name, S1),
        ):
            assert len(list((archive / folder / name).iterdir())) == len(bands) + 1
            for band in bands:
                path = archive / folder / name / f"{name}_{band}.tif"
                pixels = geotiff.read_band(File(str(path)), BANDS[band])
                crs_wkt, geotransform = geotiff.read_georeference(path)
                np.testing.assert_array_equal(pixels, patch.bands[band])
                assert f'"EPSG","326{place.tile[:2]}"' in crs_wkt
                size_m = BANDS[band].resolution_m
                assert geotransform == (place.ulx, size_m, 0, place.uly, 0, -size_m)
            metadata = json.loads((archive / folder / name / f"{name}_labels_metadata.json").read_text())
            assert tuple(metadata["labels"]) == patch.labels
            assert metadata["coordinates"]["lrx"] == place.ulx + 1200
        assert metadata["corresponding_s2_patch"] == place.s2_name


def test_pixels_are_in_range_and_snow_and_cloud_are_bright():
    labels = ("Non-irrigated arable land", "Mixed forest")
    clear, snow, cloud = (
        signatures.render_patch(labels, "Winter", np.random.default_rng(1), overlay=overlay)
        for overlay in (None, "snow", "cloud")
    )
    for bands in (clear, snow, cloud):
        for name, pixels in bands.items():
            band = BANDS[name]
            assert pixels.shape == (band.size_px, band.size_px) and pixels.dtype == band.dtype
            assert np.isfinite(pixels).all()
            low, high = (-38, 20) if name in S1 else (1, 16000)
            assert low <= pixels.min() and pixels.max() <= high
    assert min(snow["B02"].mean(), cloud["B02"].mean()) > 2 * clear["B02"].mean()
    assert snow["B11"].mean() < cloud["B11"].mean()


def test_lists_are_disjoint_and_cover_every_patch(archive):
    with (archive / "lists" / synthetic_patches.PAIRS_FILE).open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))
    assert list(pairs[0]) == ["s1_name", "s2_name", "country", "season"]
    names = [name for file, _ in synthetic_patches.GROUPS.values() for name in list_names(archive, file)]
    assert sorted(names) == sorted(pair["s2_name"] for pair in pairs) and len(set(names)) == NUM_PATCHES
    assert set(names) == {path.name for path in (archive / synthetic_patches.S2_FOLDER).iterdir()}
    assert {pair["s1_name"] for pair in pairs} == {
        path.name for path in (archive / synthetic_patches.S1_FOLDER).iterdir()
    }


def test_groups_have_the_official_shares():
    groups = [synthetic_patches.draw_group(0, i, synthetic_patches.place_patch(0, i).season) for i in range(4000)]
    share = {name: groups.count(name) / len(groups) for name in synthetic_patches.GROUPS}
    assert all(0.005 < share[name] < 0.07 for name in ("snow", "cloud", "no_19_class"))
    used = share["train"] + share["val"] + share["test"]
    assert share["train"] / used == pytest.approx(0.52, abs=0.04)
    assert share["val"] / used == pytest.approx(0.24, abs=0.04)


def test_a_folder_whose_name_is_not_utf_8_is_written(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    assert synthetic_patches.synthesize_archive(folder, 1, seed=0, with_s1=False) == 1
    assert len(list(Path(folder, synthetic_patches.S2_FOLDER).glob("*/*.tif"))) == len(S2_ALL)


def test_any_number_of_workers_gives_the_same_bytes(archive, tmp_path):
    synthetic_patches.synthesize_archive(str(tmp_path / "two"), NUM_PATCHES, 7, with_s1=True, workers=2)
    assert contents(tmp_path / "two") == contents(archive)


def test_fewer_patches_are_the_first_of_more(archive, tmp_path):
    synthetic_patches.synthesize_archive(str(tmp_path / "few"), 4, 7, with_s1=False)
    few, more = contents(tmp_path / "few"), contents(archive)
    patches = {path: pixels for path, pixels in few.items() if path.startswith(synthetic_patches.S2_FOLDER)}
    assert len(patches) == 4 * 13
    assert all(more[path] == pixels for path, pixels in patches.items())
    assert not (tmp_path / "few" / synthetic_patches.S1_FOLDER).exists()


def test_another_seed_gives_other_patches():
    assert synthetic_patches.place_patch(0, 5).s2_name != synthetic_patches.place_patch(1, 5).s2_name
    assert (
        synthetic_patches.create_patch(0, 5).bands["B02"] != synthetic_patches.create_patch(1, 5).bands["B02"]
    ).any()


def test_a_second_run_writes_what_is_missing(archive, archive_copy):
    def run():
        return synthetic_patches.synthesize_archive(str(archive_copy), NUM_PATCHES, 7, with_s1=True)

    places = [synthetic_patches.place_patch(7, index) for index in range(3)]
    s2_folder = archive_copy / synthetic_patches.S2_FOLDER
    shutil.rmtree(s2_folder / places[0].s2_name)
    (s2_folder / places[1].s2_name / f"{places[1].s2_name}_B05.tif").unlink()
    half_written = s2_folder / f".{places[0].s2_name}.tmp"
    half_written.mkdir()
    (half_written / "rubbish.tif").write_bytes(b"II*")
    shutil.rmtree(archive_copy / synthetic_patches.S1_FOLDER / places[2].s1_name)
    (archive_copy / "lists" / "val.csv").unlink()
    assert run() == 3
    assert contents(archive_copy) == contents(archive)
    assert run() == 0


@pytest.mark.parametrize(("num_patches", "seed", "with_s1"), [(13, 7, True), (12, 8, True), (12, 7, False)])
def test_other_arguments_are_refused(archive, num_patches, seed, with_s1):
    with pytest.raises(ValueError, match=r"'seed': 7, 'num_patches': 12.*another --output_dir"):
        synthetic_patches.synthesize_archive(str(archive), num_patches, seed, with_s1=with_s1)


def test_a_folder_with_other_files_and_wrong_numbers_are_refused(tmp_path):
    for name in (".DS_Store", "thesis.txt"):
        (tmp_path / name).write_text("years of work")
    with pytest.raises(ValueError, match="not empty.*it contains thesis.txt. Name"):
        synthetic_patches.synthesize_archive(str(tmp_path), 2, 0, with_s1=False)
    for wrong in ({"num_patches": 0, "seed": 0}, {"num_patches": 1, "seed": -1}):
        with pytest.raises(ValueError, match="allowed are"):
            synthetic_patches.synthesize_archive(str(tmp_path / "new"), with_s1=False, **wrong)


def test_help_is_quick_and_an_error_is_one_line(archive):
    """The test of the help of all commands checks that nothing heavy is loaded for it."""
    command = ["-m", "tfrecord_tools.synthesize"]
    shown = warm_python.run([*command, "--help"])
    assert "--num_patches" in shown.stdout
    refused = warm_python.run([*command, f"--output_dir={archive}"])
    assert refused.returncode != 0 and "another --output_dir" in refused.stderr and "Traceback" not in refused.stderr


def band_features(bands):
    """Returns the log means of the bands; and these, their differences, and texture statistics of the bands."""
    log_means, textures = [], []
    for name, pixels in bands.items():
        linear = 10.0 ** (pixels / 10.0) if name in S1 else pixels.astype(np.float32)
        log_means.append(np.log(linear.mean()))
        logarithm = np.log(np.maximum(linear, 1e-5))
        high_pass = np.abs(np.diff(logarithm, axis=0)).mean()
        textures += [high_pass, logarithm.std(), *(np.percentile(logarithm, [10, 90]) - log_means[-1])]
    ratios = [log_means[j] - log_means[i] for i in range(len(bands)) for j in range(i + 1, len(bands), 2)]
    return np.array(log_means), np.concatenate([log_means, ratios, textures])


def micro_f1(predicted, labels):
    return 2 * (predicted & labels).sum() / (predicted.sum() + labels.sum())


def cross_validated_f1(features, labels):
    """Returns the micro-F1 of trees at their best threshold, which favors the leak that the test looks for."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import cross_val_predict

    single = features.shape[1] == 1
    trees = ExtraTreesClassifier(
        60, min_samples_leaf=5 if single else 2, max_features=None if single else 0.3, random_state=0
    )
    frequent = np.flatnonzero(labels.sum(0) >= 8)
    columns = cross_val_predict(trees, features, labels[:, frequent], cv=4, method="predict_proba")
    probabilities = np.zeros(labels.shape)
    probabilities[:, frequent] = np.stack([column[:, 1] for column in columns], axis=1)
    return max(micro_f1(probabilities > threshold, labels) for threshold in np.linspace(0.14, 0.5, 10))


def test_labels_are_learnable_but_not_from_the_mean_of_one_band():
    means, features, labels = [], [], []
    for index in range(430):
        if synthetic_patches.draw_group(0, index, synthetic_patches.place_patch(0, index).season) in (
            "train",
            "val",
            "test",
        ):
            patch = synthetic_patches.create_patch(0, index)
            log_means, all_features = band_features(patch.bands)
            means.append(log_means)
            features.append(all_features)
            labels.append(multi_hot(label_indices(to_19_classes(patch.labels), CLASSES_19), 19) > 0)
    labels = np.array(labels)
    order = np.argsort(-labels.mean(0))
    constant = max(
        micro_f1(np.broadcast_to(np.isin(np.arange(19), order[:count]), labels.shape), labels) for count in range(1, 10)
    )
    single = {name: cross_validated_f1(column[:, None], labels) for name, column in zip(BANDS, np.array(means).T)}
    together = cross_validated_f1(np.array(features), labels)
    assert max(single.values()) < constant + 0.08, f"a single band reveals labels: constant {constant}, {single}"
    assert together > constant + 0.2, f"labels are not in the pixels: constant {constant}, all bands {together}"


def test_each_label_is_where_the_patch_shows_it():
    """From blue to the short-wave infrared, water falls and forest rises, with or without the sun's glint."""
    water, forest = {"Sea and ocean", "Water bodies"}, {"Broad-leaved forest", "Coniferous forest", "Mixed forest"}
    compared = 0
    for index in range(130):
        masks = synthetic_patches.locate_labels(0, index)
        assert np.all(sum(mask.astype(int) for mask in masks.values()) == 1)
        group = synthetic_patches.draw_group(0, index, synthetic_patches.place_patch(0, index).season)
        if group in ("snow", "cloud") or not masks.keys() <= water | forest or not masks.keys() & water:
            continue
        patch = synthetic_patches.create_patch(0, index)
        assert tuple(masks) == patch.labels
        falls = patch.bands["B02"].reshape(60, 2, 60, 2).mean((1, 3)) > patch.bands["B11"]
        for label, mask in masks.items():
            inside = mask.reshape(60, 2, 60, 2).all((1, 3))
            assert np.mean(falls[inside] == (label in water)) > 0.95, label
        compared += len(masks) > 1
    assert compared >= 5
