"""Models of known answers, shared by the tests of maps."""

import pytest

from tests.support.scenes import write_mean_model

CLASSES = ("Pastures", "Inland waters", "A class of nobody's nomenclature")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Its classes are the mean reflectances of a band of 10 m, of 20 m and of 60 m."""
    return write_mean_model(tmp_path_factory.mktemp("model"), ("B02", "B05", "B01"), CLASSES)


@pytest.fixture(scope="session")
def model_10m(tmp_path_factory):
    """Its classes are the mean reflectances of three bands of 10 m: windows may start at any pixel."""
    return write_mean_model(tmp_path_factory.mktemp("model_10m"), ("B04", "B03", "B02"), CLASSES)
