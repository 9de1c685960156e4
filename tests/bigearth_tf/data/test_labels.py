"""Class names, and the map from 43 to 19 classes by name and by index."""

import numpy as np
import pytest

from bigearth_tf.data.labels import (
    CLASSES_19,
    CLASSES_43,
    CLC_43_TO_19,
    label_indices,
    map_to_nomenclature,
    multi_hot,
    to_19_classes,
)

# For each of the 19, the indices of the 43 that map to it: `label_conversion` of BigEarthNet-19's label_indices.json.
CONVERSION = [[0, 1], [2], [11, 12, 13], [14, 15, 16, 18], [17], [19], [20], [21], [22], [23], [24], [25, 31], [26, 27],
              [28], [29], [33, 34], [35, 36], [38, 39], [40, 41, 42]]  # fmt: skip


def test_there_are_43_and_19_different_classes():
    assert (len(CLASSES_43), len(set(CLASSES_43)), len(CLASSES_19), len(set(CLASSES_19))) == (43, 43, 19, 19)


def test_the_map_of_names_is_the_official_map_of_indices():
    by_name = [[i for i, name in enumerate(CLASSES_43) if CLC_43_TO_19[name] == target] for target in CLASSES_19]
    assert by_name == CONVERSION
    dropped = [i for i, name in enumerate(CLASSES_43) if CLC_43_TO_19[name] is None]
    assert dropped == [3, 4, 5, 6, 7, 8, 9, 10, 30, 32, 37]


def test_names_map_to_the_official_indices():
    names = to_19_classes(["Transitional woodland/shrub", "Broad-leaved forest", "Natural grassland"])
    assert label_indices(names, CLASSES_19) == (8, 11, 13)


def test_several_names_map_to_one_class_and_dropped_names_to_none():
    assert to_19_classes(["Rice fields", "Non-irrigated arable land", "Airports"]) == ("Arable land",)
    assert to_19_classes(["Airports", "Burnt areas"]) == ()


def test_names_map_to_either_nomenclature():
    assert map_to_nomenclature(["Rice fields", "Airports"], "43") == ("Airports", "Rice fields")
    assert map_to_nomenclature(["Rice fields", "Airports"], "19") == ("Arable land",)


@pytest.mark.parametrize("names", [["Sea"], ["Arable land"], ["pastures"]])
def test_a_name_outside_the_43_is_refused(names):
    with pytest.raises(ValueError, match=f"Unknown label '{names[0]}'"):
        to_19_classes(names)


def test_a_label_given_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        label_indices(["Pastures", "Pastures"], CLASSES_19)


def test_multi_hot_is_1_at_the_indices():
    np.testing.assert_array_equal(multi_hot((0, 3), 4), np.float32([1, 0, 0, 1]))
    for index in (-1, 4):
        with pytest.raises(ValueError, match=r"outside 0 \.\.\. 3"):
            multi_hot((index,), 4)
