"""Augmentation is the same for all bands, random, and independent of the number of ranks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from bigearth_tf.training.augmentation import mixup, random_symmetry

SEED = tf.constant([3, 4])


def symmetries(image):
    turned = [np.rot90(image, k) for k in range(4)]
    return [*turned, *(array[:, ::-1] for array in turned)]


def test_all_symmetries_are_equally_frequent_and_bands_agree():
    fine = np.arange(36, dtype=np.uint16).reshape(6, 6)
    coarse = fine.reshape(3, 2, 3, 2).mean((1, 3)).astype(np.float32)
    batch = {"B02": tf.constant(np.tile(fine, (800, 1, 1))), "B05": tf.constant(np.tile(coarse, (800, 1, 1)))}
    varied = random_symmetry(batch, SEED, first_row=0, global_batch_size=800)
    assert varied["B02"].dtype == tf.uint16
    seen = []
    for fine_out, coarse_out in zip(varied["B02"].numpy(), varied["B05"].numpy()):
        kinds = [k for k, image in enumerate(symmetries(fine)) if np.array_equal(image, fine_out)]
        assert len(kinds) == 1
        np.testing.assert_array_equal(coarse_out, fine_out.reshape(3, 2, 3, 2).mean((1, 3)))
        seen += kinds
    assert stats.chisquare(np.bincount(seen, minlength=8)).pvalue > 1e-3


def images(num_rows, high=10_000):
    generator = np.random.default_rng(0)
    return {
        "B02": tf.constant(generator.integers(0, high, (num_rows, 4, 4), dtype=np.uint16)),
        "VV": tf.constant(generator.normal(-12, 5, (num_rows, 2, 2)).astype(np.float32)),
    }


def one_hot(num_rows):
    return tf.constant(np.eye(num_rows, dtype=np.float32))


def mix(bands, labels, seed=SEED, alpha=0.4, **place):
    place = place or {"first_row": 0, "global_batch_size": labels.shape[0]}
    return mixup(bands, labels, seed, alpha, **place)


def test_the_seed_determines_the_draws():
    batch = images(50)

    def draw(*seed):
        turned = random_symmetry(batch, tf.constant(seed), first_row=0, global_batch_size=50)["B02"]
        return turned.numpy(), mix(batch, one_hot(50), tf.constant(seed))[1].numpy()

    for again, other, another in zip(draw(1, 2), draw(1, 3), draw(2, 2)):
        for found in draw(1, 2):
            if found.shape == again.shape:
                assert np.array_equal(found, again)
                assert not np.array_equal(found, other) and not np.array_equal(found, another)


@pytest.mark.parametrize("num_ranks", [2, 3, 6])
def test_ranks_together_draw_the_same_as_one_rank(num_ranks):
    batch, labels, size = images(12), one_hot(12), 12 // num_ranks
    whole = random_symmetry(batch, SEED, first_row=0, global_batch_size=12)
    mixed, mixed_labels = mix(whole, labels)
    for rank in range(num_ranks):
        rows = slice(rank * size, (rank + 1) * size)
        place = {"first_row": rank * size, "global_batch_size": 12}
        part = random_symmetry({name: pixels[rows] for name, pixels in batch.items()}, SEED, **place)
        part_mixed, part_labels = mix(part, labels[rows], **place)
        np.testing.assert_array_equal(part_labels, mixed_labels[rows])
        for name in batch:
            np.testing.assert_array_equal(part[name], whole[name][rows])
            np.testing.assert_array_equal(part_mixed[name], mixed[name][rows])


def test_a_mixture_has_the_same_share_in_bands_and_labels():
    batch = images(64)
    mixed, labels = mix(batch, one_hot(64))
    assert mixed["B02"].dtype == tf.uint16 and mixed["VV"].dtype == labels.dtype == tf.float32
    for row in range(64):
        share = labels[row, row].numpy()
        assert labels[row, row ^ 1].numpy() == pytest.approx(1 - share, abs=1e-6)
        assert np.count_nonzero(labels[row]) <= 2
        for name, pixels in batch.items():
            exact = share * pixels[row].numpy().astype(float) + (1 - share) * pixels[row ^ 1].numpy().astype(float)
            np.testing.assert_allclose(mixed[name][row], exact, atol=0.502 if name == "B02" else 1e-4)


def test_the_largest_numbers_do_not_wrap():
    batch = {"B02": tf.fill([16, 2, 2], tf.constant(65535, tf.uint16))}
    np.testing.assert_array_equal(mix(batch, one_hot(16))[0]["B02"], batch["B02"])


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha):
    rows = 4000
    labels = np.tile(np.float32([[1.0, 0.0], [0.0, 1.0]]), (rows // 2, 1))
    mixed = mix({"B": tf.zeros([rows, 1, 1])}, tf.constant(labels), alpha=alpha)[1].numpy()
    shares = mixed[np.arange(rows), np.arange(rows) % 2]
    assert np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1
    # Float32 has no number between 1 and 1 - 6e-8, where half the small alphas' shares lie.
    inner = np.linspace(0.01, 0.99, 25)
    cumulated = np.searchsorted(np.sort(shares), inner) / rows
    np.testing.assert_allclose(cumulated, stats.beta.cdf(inner, alpha, alpha), atol=0.035)


@pytest.mark.parametrize(("rows", "first_row"), [(3, 0), (2, 3)])
def test_a_pair_on_two_ranks_is_refused(rows, first_row):
    with pytest.raises(ValueError, match=r"mixup_alpha=0.4 .* an even number.*multiple of twice the number of ranks"):
        mix(images(rows), one_hot(rows), first_row=first_row, global_batch_size=6)


def test_xla_draws_the_same():
    batch, labels = images(8), one_hot(8)

    def vary(seed):
        return mixup(
            random_symmetry(batch, seed, first_row=8, global_batch_size=16),
            labels,
            seed,
            0.4,
            first_row=8,
            global_batch_size=16,
        )

    compiled = tf.function(vary, jit_compile=True)
    for step in range(4):
        seed = tf.constant([3, step])
        (bands, mixed), (bands_by_xla, mixed_by_xla) = vary(seed), compiled(seed)
        np.testing.assert_allclose(mixed_by_xla, mixed, rtol=1e-6)
        np.testing.assert_allclose(bands_by_xla["VV"], bands["VV"], rtol=1e-5)
        difference = bands_by_xla["B02"].numpy().astype(int) - bands["B02"].numpy()
        assert np.abs(difference).max() <= 1, "the last bit before rounding may differ, no more"


def test_a_model_truncates_values_that_are_not_rounded():
    """Why mixup rounds: Keras casts a float for an integer input towards 0."""
    inputs = keras.Input((1,), dtype="uint16")
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    assert float(model(tf.constant([[2.9]]))) == 2.0
