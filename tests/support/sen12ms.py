"""Patches of SEN12MS for tests, in the published layout."""

from __future__ import annotations

import numpy as np

from tests.support.geotiffs import write_image

NUM_PIXELS = 256 * 256


def pixels_of(patch_id, part):
    """Returns a different constant for every band, plus noise of the patch: a swapped band or patch is found."""
    rng = np.random.default_rng(list((patch_id + part).encode()))
    if part == "s2":
        steps = np.arange(13)[:, np.newaxis, np.newaxis] * 4096
        return (rng.integers(0, 4000, (13, 256, 256)) + steps).astype(np.uint16)
    return (rng.normal(0, 1, (2, 256, 256)) + np.array([[[-9]], [[-18]]])).astype(np.float32)


def map_of(counts):
    """Returns four bands of bytes, as published: IGBP, and three others, which must not be used."""
    igbp = np.repeat(list(counts), list(counts.values())).reshape(256, 256)
    return np.stack([igbp, *(np.full((256, 256), value) for value in (31, 20, 40))]).astype(np.uint8)


def path_of(root, patch_id, part):
    """Returns the path of a file in the published layout."""
    roi, season, scene, number = patch_id.split("_")
    return root / f"{roi}_{season}" / f"{part}_{scene}" / f"{roi}_{season}_{part}_{scene}_{number}.tif"


def write_triple(root, patch_id, counts):
    """Writes the three files of a patch, whose map has `counts[value]` pixels of each IGBP value."""
    for part in ("s1", "s2"):
        write_image(path_of(root, patch_id, part), pixels_of(patch_id, part))
    write_image(path_of(root, patch_id, "lc"), map_of(counts))
