"""Sanity checks of attribution maps: do they depend on the weights, on the class and on the patch?

Source: Adebayo et al., Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292: a map that stays the same
when the weights are random does not explain the model. NOTE: the weights are shuffled within each array, not drawn
anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf
from scipy import stats

from bigearth_tf.explain.explainer import Explainer
from bigearth_tf.explain.settings import Settings


@dataclasses.dataclass(frozen=True)
class Similarity:
    """How similar two maps are: 1 for equal ones. `rank` is Spearman's correlation of the pixels, `ssim` their SSIM."""

    rank: float
    ssim: float


@dataclasses.dataclass(frozen=True)
class SanityCheck:
    """Mean similarities of the maps of a method.

    `random_weights`: of the map of the model and that of a copy with shuffled weights, for the same patch and class;
    `other_class`: of the maps of the two classes with the highest logits, for the same patch; `other_patch`: of the
    maps of two patches, each for its class, which is what maps have in common without a reason. The last is None for
    a single patch.
    """

    random_weights: Similarity
    other_class: Similarity
    other_patch: Optional[Similarity]


def check_maps(
    explainer: Explainer,
    patches: Sequence[Mapping[str, np.ndarray]],
    settings: Settings,
    report: Callable[[], object] = lambda: None,
) -> dict[str, SanityCheck]:
    """Returns method -> its check, for every method that the model allows.

    Args:
        explainer: The model itself, not an export.
        patches: Bands of patches; a few are enough.
        settings: Settings of the methods.
        report: Called after each patch and method.

    Raises:
        ValueError: The model is an export, has a single class, or a patch does not fit it.
    """
    if len(explainer.inputs.class_names) < 2:
        raise ValueError("The maps of two classes cannot be compared: the model has one class.")
    random = explainer.randomize()
    checks = {}
    for method in explainer.methods:
        pairs: dict[str, list[Similarity]] = {"random_weights": [], "other_class": []}
        maps = []
        for bands in patches:
            top, second = np.argsort(-explainer.logits(bands))[:2]
            names = [explainer.inputs.class_names[index] for index in (top, second)]
            first, other = (explainer.explain(bands, name, method, settings).values for name in names)
            maps.append(first)
            pairs["random_weights"].append(
                compare_maps(first, random.explain(bands, names[0], method, settings).values)
            )
            pairs["other_class"].append(compare_maps(first, other))
            report()
        of_patches = [compare_maps(first, second) for first, second in zip(maps, maps[1:])]
        means = {name: _mean(similarities) for name, similarities in pairs.items()}
        checks[method] = SanityCheck(**means, other_patch=_mean(of_patches) if of_patches else None)
    return checks


def compare_maps(first: np.ndarray, second: np.ndarray) -> Similarity:
    """Returns the similarity of two maps [S, S].

    The rank correlation with a constant map is 0. SSIM compares the maps scaled to 0 ... 1, in windows of 11 px.
    """
    ranks = [stats.rankdata(values) for values in (first, second)]
    constant = any(np.ptp(rank) == 0 for rank in ranks)
    scaled = [(values - values.min()) / (np.ptp(values) or 1.0) for values in (first, second)]
    images = [tf.constant(values[..., np.newaxis], tf.float32) for values in scaled]
    ssim = tf.image.ssim(*images, max_val=1.0, filter_size=min(11, *first.shape))
    return Similarity(0.0 if constant else float(np.corrcoef(*ranks)[0, 1]), float(ssim))


def _mean(similarities: Sequence[Similarity]) -> Similarity:
    return Similarity(*(float(np.mean(values)) for values in zip(*map(dataclasses.astuple, similarities))))
