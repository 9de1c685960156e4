"""What every test shares: a quiet TensorFlow, and the real patches if there are any."""

import os

import pytest

from tests.support.paths import REPOSITORY

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def repository():
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data():
    """Real patches of several sources next to the checkout, if there are any."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data next to the checkout")
    return folder


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also run what takes long: every member of the zoo")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full"):
        return
    full = [item for item in items if item.get_closest_marker("full")]
    if full:
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if not item.get_closest_marker("full")]
