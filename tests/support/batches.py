"""Random batches of raw bands, as models receive them."""

import numpy as np

from bigearth_tf.data.bands import get_bands


def make_batch(bands="S2", size=2, seed=0):
    """Returns a batch of `size` random patches: band name -> pixels in storage type, with the band's statistics."""
    rng = np.random.default_rng(seed)
    batch = {}
    for band in get_bands(bands):
        pixels = rng.normal(band.mean, band.std, (size, band.size_px, band.size_px))
        batch[band.name] = (np.maximum(pixels, 0) if band.sensor == "S2" else pixels).astype(band.dtype)
    return batch
