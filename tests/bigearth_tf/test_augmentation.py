"""Is a patch varied by the symmetries of the square, all eight of them, alike on all its bands?"""

import numpy as np
import tensorflow as tf

from bigearth_tf.augmentation import random_symmetry


def symmetries(image):
    turned = [np.rot90(image, k) for k in range(4)]
    return [*turned, *(array[:, ::-1] for array in turned)]


def test_every_symmetry_occurs_and_bands_agree():
    fine = np.arange(36, dtype=np.uint16).reshape(6, 6)
    coarse = fine.reshape(3, 2, 3, 2).mean((1, 3)).astype(np.float32)
    batch = {"B02": tf.constant(np.tile(fine, (200, 1, 1))), "B05": tf.constant(np.tile(coarse, (200, 1, 1)))}
    varied = random_symmetry(batch, tf.constant([3, 4]))
    assert varied["B02"].dtype == tf.uint16
    seen = set()
    for fine_out, coarse_out in zip(varied["B02"].numpy(), varied["B05"].numpy()):
        kinds = [k for k, image in enumerate(symmetries(fine)) if np.array_equal(image, fine_out)]
        assert len(kinds) == 1
        np.testing.assert_array_equal(coarse_out, fine_out.reshape(3, 2, 3, 2).mean((1, 3)))
        seen.update(kinds)
    assert seen == set(range(8))


def test_the_seed_decides():
    batch = {"B02": tf.reshape(tf.range(16 * 50), [50, 4, 4])}

    def draw(*seed):
        return random_symmetry(batch, tf.constant(seed))["B02"].numpy()

    assert np.array_equal(draw(1, 2), draw(1, 2))
    assert not np.array_equal(draw(1, 2), draw(1, 3))
    assert not np.array_equal(draw(1, 2), draw(2, 2))
