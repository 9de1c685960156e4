"""Explanations of a model: which pixels and bands change the logit of a class, and whether the maps can be trusted.

    from bigearth_tf.explain import Explainer
    attribution = Explainer.from_run("runs/demo/train").explain(bands, "Marine waters", "occlusion")

Importing this package loads no TensorFlow; using a name of it may.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigearth_tf.explain.attribution import Attribution
    from bigearth_tf.explain.explainer import Explainer
    from bigearth_tf.explain.patches import PatchToExplain
    from bigearth_tf.explain.read_records import read_patches
    from bigearth_tf.explain.settings import Settings

__all__ = ["Attribution", "Explainer", "PatchToExplain", "Settings", "read_patches"]
_MODULES = {
    "Attribution": "attribution",
    "Explainer": "explainer",
    "PatchToExplain": "patches",
    "Settings": "settings",
    "read_patches": "read_records",
}


def __getattr__(name: str) -> Any:
    """Returns a name of `__all__`, and imports its module only now: commands check what they are given before that."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
