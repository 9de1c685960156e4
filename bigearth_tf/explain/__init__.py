"""Explanations of a model: which pixels and bands change the logit of a class, and whether the maps can be trusted."""

from bigearth_tf.explain.attribution import Attribution
from bigearth_tf.explain.explainer import Explainer, Settings
from bigearth_tf.explain.patches import PatchToExplain, read_patches

__all__ = ["Attribution", "Explainer", "PatchToExplain", "Settings", "read_patches"]
