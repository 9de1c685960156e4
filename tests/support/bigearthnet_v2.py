"""A small archive of BigEarthNet v2.0 for tests, in the published layout."""

from __future__ import annotations

import numpy as np
import pandas

from bigearth_tf.data.bands import BANDS, S1, S2_ALL
from bigearth_tf.data.datasets.bigearthnet_v2 import REFERENCE_MAP
from tests.support.archives import random_pixels
from tests.support.geotiffs import write_image

TILE, PRODUCT = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S1B_IW_GRDH_1SDV_20170612T165809"
# A counterpart does not have the same two numbers: only the table gives it.
S2_NAMES = [f"{TILE}_{row:02d}_57" for row in range(7)]
S1_NAMES = [f"{PRODUCT}_33UUP_{6 - row}_57" for row in range(7)]
SPLITS = ["train", "train", "validation", "test", "train", "test", "train"]
# First letter of a band -> its value for no data, and how it is stored.
_FORMS = {"B": (0.0, ()), "V": (None, ()), "r": (0.0, ("COMPRESS=DEFLATE",))}
LABELS = [["Pastures", "Arable land"], ["Marine waters"], ["Urban fabric", "Mixed forest", "Inland waters"]]


def map_pixels(index):
    """Returns the reference map of a patch: codes, and 0 for no data."""
    return np.random.default_rng(index).choice(np.array([0, 111, 211, 311, 523], np.uint16), (120, 120))


def pixels_of(index, name):
    """Returns the pixels of a band of a patch."""
    return map_pixels(index) if name == REFERENCE_MAP.name else random_pixels(BANDS[name], index)


def write_folder(folder, pixels, suffix):
    """Writes the images of one folder, in the form of the archive."""
    folder.mkdir(parents=True)
    for name, array in pixels.items():
        no_data, options = _FORMS[name[0]]
        write_image(folder / f"{folder.name}_{name}{suffix}", array[np.newaxis], no_data, options)


def write_tree(root, tiles=True, suffix=".tif", indices=range(7)):
    """Writes the three folders of an archive; patches 4 (snow) and 5 (cloud) are flagged, 6 is not in the table."""
    for index in indices:
        for top, tile, name, bands in (
            ("BigEarthNet-S2", TILE, S2_NAMES[index], S2_ALL),
            ("BigEarthNet-S1", PRODUCT, S1_NAMES[index], S1),
            ("Reference_Maps", TILE, S2_NAMES[index], [REFERENCE_MAP.name]),
        ):
            folder = root / top / tile / name if tiles else root / top / name
            write_folder(folder, {band: pixels_of(index, band) for band in bands}, suffix)


def table(indices=range(6)):
    """Returns the metadata of patches."""
    return pandas.DataFrame(
        {
            "patch_id": [S2_NAMES[index] for index in indices],
            "labels": [LABELS[index % 3] for index in indices],
            "split": [SPLITS[index] for index in indices],
            "country": ["Austria" if index % 2 else "Kosovo" for index in indices],
            "s1_name": [S1_NAMES[index] for index in indices],
            "s2v1_name": [f"S2A_MSIL2A_20170613T101031_{index}_57" for index in indices],
            "contains_seasonal_snow": [index == 4 for index in indices],
            "contains_cloud_or_shadow": [index == 5 for index in indices],
        }
    )
