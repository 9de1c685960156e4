"""Convolutions in plain NumPy, for the tests of layers that hold some."""

import numpy as np


def convolve(features, kernel, stride=1):
    """What `padding="same"` means: features [B, H, W, I] and kernel [k, k, I, O] -> [B, H / stride, W / stride, O]."""
    size = kernel.shape[0]
    sides = [-(-side // stride) for side in features.shape[1:3]]
    # Of an odd number of zeros, the larger part goes below and to the right.
    missing = [max((out - 1) * stride + size - side, 0) for out, side in zip(sides, features.shape[1:3])]
    padded = np.pad(features, ((0, 0), *((zeros // 2, zeros - zeros // 2) for zeros in missing), (0, 0)))
    result = np.empty((len(features), *sides, kernel.shape[-1]))
    for row in range(sides[0]):
        for column in range(sides[1]):
            top, left = row * stride, column * stride
            window = padded[:, top : top + size, left : left + size]
            result[:, row, column] = np.tensordot(window, kernel, 3)
    return result


def convolve_each(features, kernel, stride=1):
    """Each channel by itself: features [B, H, W, C] and kernel [k, k, C, 1] -> [B, H / stride, W / stride, C]."""
    channels = range(features.shape[-1])
    parts = [convolve(features[..., c : c + 1], kernel[:, :, c : c + 1], stride) for c in channels]
    return np.concatenate(parts, axis=-1)


def normalise(features, gamma, beta, mean, variance, epsilon=1e-5):
    """Batch norm at inference."""
    return gamma * (features - mean) / np.sqrt(variance + epsilon) + beta
