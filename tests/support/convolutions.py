"""Convolutions and batch norm in plain NumPy, for tests of layers."""

import numpy as np


def convolve(features, kernel, stride=1):
    """Returns the convolution [B, H / stride, W / stride, O] of [B, H, W, I] and [k, k, I, O], padded as "same"."""
    size = kernel.shape[0]
    sides = [-(-side // stride) for side in features.shape[1:3]]
    # If the number of zeros is odd, the larger part is added below and to the right.
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
    """Returns the depthwise convolution [B, H / stride, W / stride, C] of [B, H, W, C] and [k, k, C, 1]."""
    channels = range(features.shape[-1])
    parts = [convolve(features[..., c : c + 1], kernel[:, :, c : c + 1], stride) for c in channels]
    return np.concatenate(parts, axis=-1)


def normalize(features, gamma, beta, mean, variance, epsilon=1e-5):
    """Returns batch norm at inference."""
    return gamma * (features - mean) / np.sqrt(variance + epsilon) + beta
