"""Colors of classes: CORINE's, and different ones for all other classes."""

from bigearth_tf.data.datasets import get_dataset, list_datasets
from bigearth_tf.data.labels import CLASSES_19, CLASSES_43
from bigearth_tf.mapping.class_colors import class_colors


def test_classes_of_corine_have_its_colors():
    colors = dict(zip(CLASSES_43, class_colors(CLASSES_43)))
    assert colors["Coniferous forest"] == (0, 166, 0)
    assert colors["Sea and ocean"] == (230, 242, 255)
    of_19 = dict(zip(CLASSES_19, class_colors(CLASSES_19)))
    assert of_19["Coniferous forest"] == (0, 166, 0)
    assert of_19["Urban fabric"] == colors["Discontinuous urban fabric"]


def test_no_two_classes_of_a_data_set_share_a_color():
    nomenclatures = [names for dataset in list_datasets() for names in get_dataset(dataset).nomenclatures.values()]
    for names in [*nomenclatures, [str(index) for index in range(200)], ["a", "Pastures", "b"]]:
        colors = class_colors(names)
        assert len(set(colors)) == len(names)
        assert all(0 <= channel <= 255 for color in colors for channel in color)
