"""Windows: their places, the parts of a grid, reflection at the edges, and blending against a direct sum."""

import numpy as np
import pytest

from bigearth_tf.mapping.windows import WindowGrid, blend, blending_weights, reflect, window_profile

GRIDS = [
    WindowGrid(height, width, patch_px, stride_px, align_px)
    for height, width, patch_px, stride_px, align_px in (
        (120, 120, 120, 60, 6),
        (121, 359, 120, 60, 6),
        (1, 7, 120, 120, 1),
        (1001, 998, 120, 37, 6),
        (500, 333, 120, 37, 1),
        (300, 300, 64, 21, 2),
        (2500, 12001, 120, 119, 1),
    )
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_windows_are_aligned_overlap_as_asked_and_see_the_edges_as_often_as_the_middle(grid):
    for starts, size in ((grid.row_starts, grid.height), (grid.column_starts, grid.width)):
        assert not (starts % grid.align_px).any()
        steps = np.diff(starts)
        assert (abs(steps - grid.stride_px) < grid.align_px).all()
        covers = [((starts <= x) & (x < starts + grid.patch_px)).sum() for x in range(size)]
        least = grid.patch_px // (grid.stride_px + grid.align_px - 1)
        assert min(covers) >= max(1, least), "every pixel, also at an edge"
        assert starts[0] > -grid.patch_px
        assert starts[-1] < size, "no window is outside the scene"


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_each_window_and_each_pixel_belongs_to_one_part(grid):
    windows = np.zeros((len(grid.row_starts), len(grid.column_starts)), int)
    pixels = np.zeros((grid.height, grid.width), int)
    for index, part in enumerate(grid.parts()):
        assert part.index == index
        windows[part.first_row : part.end_row, part.first_column : part.end_column] += 1
        pixels[grid.pixels_of(part)] += 1
    assert (windows == 1).all()
    assert (pixels == 1).all()
    assert grid.num_windows == windows.size


def test_a_full_tile_is_split_into_strips():
    parts = WindowGrid(10980, 10980, 120, 60, 6).parts()
    assert len(parts) == 11
    assert {(part.first_column, part.end_column) for part in parts} == {(0, 184)}


@pytest.mark.parametrize("stride", [0, 5, 9, 121])
def test_a_stride_that_is_too_small_or_leaves_gaps_is_refused(stride):
    with pytest.raises(ValueError, match=r"--stride=.*allowed are 10 \.\.\. 120 px"):
        WindowGrid(500, 500, 120, stride, 6)


def test_reflection_is_that_of_numpy_and_the_same_place_in_coarser_bands():
    for size, pad in ((5, 3), (2, 7), (1, 4)):
        expected = np.pad(np.arange(size), pad, mode="symmetric")
        assert reflect(np.arange(-pad, size + pad), size).tolist() == expected.tolist()
    fine, coarse = reflect(np.arange(-12, 36), 24), reflect(np.arange(-2, 6), 4)
    assert (fine.reshape(8, 6) // 6 == coarse[:, np.newaxis]).all()


def test_weights_add_up_to_one_at_half_a_patch():
    profile = window_profile(120)
    assert (profile > 0).all()
    np.testing.assert_allclose(profile[:60] + profile[60:], 1.0)


@pytest.mark.parametrize("grid", GRIDS[:-1], ids=str)
def test_blending_is_the_weighted_mean_of_the_windows_over_a_pixel(grid):
    answers = np.random.default_rng(0).random((len(grid.row_starts), len(grid.column_starts), 3), np.float32)
    rows = blending_weights(grid.row_starts, grid.patch_px, grid.height)
    columns = blending_weights(grid.column_starts, grid.patch_px, grid.width)
    blended = np.stack(list(blend(answers, rows, columns)))
    profile = window_profile(grid.patch_px)
    weight = np.outer(profile, profile)
    padded = tuple(size + 2 * grid.patch_px for size in (grid.height, grid.width))
    total, weights = np.zeros((*padded, 3)), np.zeros((*padded, 1))
    for i, top in enumerate(grid.row_starts + grid.patch_px):
        for j, left in enumerate(grid.column_starts + grid.patch_px):
            place = (slice(top, top + grid.patch_px), slice(left, left + grid.patch_px))
            total[place] += weight[..., np.newaxis] * answers[i, j]
            weights[place] += weight[..., np.newaxis]
    inside = tuple(slice(grid.patch_px, grid.patch_px + size) for size in (grid.height, grid.width))
    np.testing.assert_allclose(blended, total[inside] / weights[inside], atol=1e-6)
